"""What the pods of both phases have in common: identity, records, storage, security.

No ConfigMap: the stage file travels in an annotation of the pod template and reaches the container
through a downward-API volume. So one POST makes an attempt whole, and what it is told is as
immutable as the Job.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from acereason_trainer.config.stage_file import StageFile

from acereason_operator.api.run import AceReasonRun, EnvVar, Stage
from acereason_operator.cluster import labels
from acereason_operator.cluster.protocol import Object
from acereason_operator.cluster.rendering import Rendering
from acereason_operator.cluster.storage import claim_name
from acereason_operator.planner import effective
from acereason_operator.planner.actions import CreateJob

STAGE_FILE_DIRECTORY = "/etc/acereason"
STAGE_FILE = "stage.yaml"
TERMINATION_LOG = "/dev/termination-log"
"""Where a container leaves its record; the kubelet copies it into the pod's status."""
WINDING_UP_SECONDS = 10
"""The launcher kills its ranks at the end of the grace period; this is for its own end."""
TMP = "/tmp"
"""The one place beside the store that a pod may write to, where its root is read-only. Its user's
home too: the user has no entry in the image's passwd file, and libraries (torch, triton, vLLM,
DeepSpeed, the hub's client) keep their caches below HOME or here."""


def pod_metadata(action: CreateJob, run: AceReasonRun, file: StageFile) -> Object:
    """Labels that the operator finds the pod by, and what it is told."""
    return {
        "labels": labels.of_phase(run.metadata.name, action.stage, action.attempt, action.phase),
        "annotations": {
            labels.STAGE_FILE: json.dumps(file.dump(), separators=(",", ":"), ensure_ascii=False)
        },
    }


def pod_spec(run: AceReasonRun, stage: Stage, container: Object, options: Rendering) -> Object:
    """A pod around one container."""
    grace = effective.grace_period(run.spec, stage).total_seconds()
    spec: Object = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": int(-(-grace // 1)) + WINDING_UP_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [container],
        "volumes": [
            {"name": "store", "persistentVolumeClaim": {"claimName": claim_name(run)}},
            {
                "name": "stage-file",
                "downwardAPI": {
                    "items": [
                        {
                            "path": STAGE_FILE,
                            "fieldRef": {
                                "fieldPath": f"metadata.annotations['{labels.STAGE_FILE}']"
                            },
                        }
                    ]
                },
            },
        ],
    }
    if options.security == "restricted":
        spec["securityContext"] = _pod_security(options.user)
        spec["volumes"].append({"name": "tmp", "emptyDir": {}})
    return spec


def phase_container(
    name: str,
    module: str,
    image: str,
    env: Mapping[str, Object],
    resources: Mapping[str, Any],
    options: Rendering,
) -> Object:
    """The one container of a phase: a module of the trainer over the stage file.

    env: by name; see `environment`.
    """
    container: Object = {
        "name": name,
        "image": image,
        "imagePullPolicy": options.image_pull_policy,
        "command": ["python3", "-m", module, f"{STAGE_FILE_DIRECTORY}/{STAGE_FILE}"],
        "env": list(env.values()),
        "volumeMounts": [
            {"name": "store", "mountPath": options.store},
            {"name": "stage-file", "mountPath": STAGE_FILE_DIRECTORY, "readOnly": True},
        ],
        "terminationMessagePath": TERMINATION_LOG,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if resources:
        container["resources"] = {name: dict(amounts) for name, amounts in resources.items()}
    if options.security == "restricted":
        container["securityContext"] = {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        container["volumeMounts"].append({"name": "tmp", "mountPath": TMP})
    return container


def environment(
    ours: Mapping[str, str], run: AceReasonRun, stage: Stage, options: Rendering
) -> dict[str, Object]:
    """Variables by name: ours, then those of the run's defaults, then the stage's; the last one of
    a name counts. Secrets stay references."""
    homes = {"HOME": TMP, "USER": "acereason"} if options.security == "restricted" else {}
    everywhere = {"ACEREASON_TERMINATION_LOG": TERMINATION_LOG}
    env = {
        name: {"name": name, "value": value}
        for name, value in {**homes, **everywhere, **ours}.items()
    }
    return {**env, **_given(run.spec.defaults.env), **_given(stage.env)}


def _given(variables: Iterable[EnvVar]) -> dict[str, Object]:
    return {variable.name: variable.dump() for variable in variables}


def _pod_security(user: int | None) -> Object:
    context: Object = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    if user is not None:
        context |= {
            "runAsUser": user,
            "runAsGroup": user,
            "fsGroup": user,
            # A store of millions of files is not walked at every start of a pod.
            "fsGroupChangePolicy": "OnRootMismatch",
        }
    return context
