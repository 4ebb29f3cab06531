"""The pods of a train phase: GPUs, the ranks' rendezvous, and whatever a podTemplate adds."""

from collections.abc import Mapping
from typing import Any

from acereason_trainer.config.stage_file import StageFile

from acereason_operator.api.quantities import cpu_count
from acereason_operator.api.run import AceReasonRun, Stage
from acereason_operator.cluster.merge import merged
from acereason_operator.cluster.names import run_object_name
from acereason_operator.cluster.placement import affinity
from acereason_operator.cluster.pod import environment, phase_container, pod_metadata, pod_spec
from acereason_operator.cluster.protocol import Object
from acereason_operator.cluster.rendering import Rendering
from acereason_operator.local.cores import thread_environment
from acereason_operator.planner.actions import CreateJob

CONTAINER = "stage"
MASTER_PORT = 29500
"""Where rank 0 waits for the others: torchrun's default, and pods have addresses of their own."""


def train_pod(
    action: CreateJob, run: AceReasonRun, stage: Stage, options: Rendering
) -> Object:  # fmt: skip
    """Pod template of a train phase."""
    file = with_metrics_port(action.stage_file, options.metrics_port)
    image = _image(run, stage, options)
    container = phase_container(
        CONTAINER,
        "acereason_trainer.launch",
        image,
        environment(_environment(action, run, stage, image, options), run, stage, options),
        _resources(run, stage, options),
        options,
    )
    container["ports"] = [{"name": "metrics", "containerPort": metrics_port(file)}]
    container["volumeMounts"].append({"name": "shared-memory", "mountPath": "/dev/shm"})
    spec = pod_spec(run, stage, container, options)
    spec["volumes"].append({"name": "shared-memory", "emptyDir": {"medium": "Memory"}})
    spec |= affinity(action.name, file.nodes, action.avoid_node)
    if file.nodes > 1:
        spec["subdomain"] = run_object_name(run)
    ours = pod_metadata(action, run, file)
    template: Object = {"metadata": ours, "spec": spec}
    for partial in (run.spec.defaults.pod_template, stage.pod_template):
        template = merged(template, partial or {})
    # A podTemplate may add to these; what the operator and the container read stays ours.
    template["metadata"] = merged(template.get("metadata"), ours)
    return template


def stage_containers(partial: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """What a podTemplate says of the stage's container; nothing where it is malformed, which is for
    the API server to say."""
    spec = (partial or {}).get("spec")
    listed = spec.get("containers") if isinstance(spec, Mapping) else None
    if not isinstance(listed, list):
        return []
    return [c for c in listed if isinstance(c, Mapping) and c.get("name") == CONTAINER]


def with_metrics_port(file: StageFile, port: int) -> StageFile:
    """The stage file with a metrics port, where the stage chose none. (Ports are not in a key.)"""
    if metrics_port(file):
        return file
    field = next(f for f in type(file.settings).model_fields if getattr(file.settings, f))
    settings = file.settings.settings
    telemetry = settings.telemetry.model_copy(update={"metrics_port": port})
    told = settings.model_copy(update={"telemetry": telemetry})
    return file.model_copy(
        update={"settings": file.settings.model_copy(update={field: told})}
    )  # fmt: skip


def metrics_port(file: StageFile) -> int:
    """Port at which the stage's rank 0 serves `/metrics`; 0 where it says nothing."""
    return file.settings.settings.telemetry.metrics_port


def _image(run: AceReasonRun, stage: Stage, options: Rendering) -> str:
    """Image of the stage's container, a podTemplate's first: it is merged over ours."""
    for partial in (stage.pod_template, run.spec.defaults.pod_template):
        for container in stage_containers(partial):
            if isinstance(container.get("image"), str):
                return str(container["image"])
    return stage.image or run.spec.defaults.image or options.trainer_image


def _environment(
    action: CreateJob, run: AceReasonRun, stage: Stage, image: str, options: Rendering
) -> dict[str, str]:
    """image: for the manifest of what is published."""
    env = {
        "ACEREASON_LOG_STDOUT": "1",
        "ACEREASON_IMAGE": image,
        **_threads(action.stage_file.ranks, run, stage),
    }
    if options.verifier_url:
        env["ACEREASON_VERIFIER_URL"] = options.verifier_url
    if action.stage_file.nodes > 1:
        env |= {
            "MASTER_ADDR": f"{action.name}-0.{run_object_name(run)}",
            "MASTER_PORT": str(MASTER_PORT),
        }
    return env


def _threads(ranks: int, run: AceReasonRun, stage: Stage) -> dict[str, str]:
    """A rank's share of the CPUs that the pod asks for; without a request, libraries choose."""
    resources = stage.resources or run.spec.defaults.resources
    asked = resources.requests.get("cpu") if resources else None
    return {} if asked is None else thread_environment(cpu_count(asked) / ranks)


def _resources(run: AceReasonRun, stage: Stage, options: Rendering) -> dict[str, Any]:
    resources = stage.resources or run.spec.defaults.resources
    out: dict[str, Any] = resources.dump() if resources else {}
    out = {name: amounts for name, amounts in out.items() if amounts}
    gpus = run.spec.defaults.gpus_per_node if stage.gpus_per_node is None else stage.gpus_per_node
    if gpus and options.gpu_resource not in out.get("limits", {}):
        out["limits"] = {**out.get("limits", {}), options.gpu_resource: gpus}
    return out
