"""The pod of a prepare phase: small, on any node, with the run's data and credentials in reach.

A podTemplate is written for GPU pods. Of it, prepare takes what says where data and credentials
are and who may run (labels, annotations, volumes and their mounts, environment, service account,
pull secrets, tolerations, the pod's security), and leaves what says how to train (resources, node
choice, fast networks, schedulers, further containers). Where that is not enough, a
preparePodTemplate is merged whole.
"""

from collections.abc import Mapping
from typing import Any

from acereason_operator.api.run import AceReasonRun, Stage
from acereason_operator.cluster.merge import merged
from acereason_operator.cluster.placement import affinity
from acereason_operator.cluster.pod import environment, phase_container, pod_metadata, pod_spec
from acereason_operator.cluster.protocol import Object
from acereason_operator.cluster.rendering import Rendering
from acereason_operator.cluster.train_pod import stage_containers
from acereason_operator.planner.actions import CreateJob

CONTAINER = "prepare"

DOWNLOADS = "downloads"
"""Directory of the store for the hub's cache: a model may be larger than what a kubelet lets a
container write on its node, and the next attempt goes on with what is there."""

OF_POD = (
    "volumes",
    "serviceAccountName",
    "automountServiceAccountToken",
    "imagePullSecrets",
    "priorityClassName",
    "securityContext",
    "tolerations",
    "dnsPolicy",
    "dnsConfig",
    "hostAliases",
)
"""What prepare takes of a podTemplate's spec."""

OF_CONTAINER = ("env", "envFrom", "volumeMounts")
"""What prepare takes of a podTemplate's `stage` container. Not its capabilities: they are
for what a stage does."""

FAST_NETWORKS = "k8s.v1.cni.cncf.io/networks"
"""Annotation of Multus: further networks, which CPU nodes need not have."""


def prepare_pod(
    action: CreateJob, run: AceReasonRun, stage: Stage, options: Rendering
) -> Object:  # fmt: skip
    """Pod template of a prepare phase."""
    container = phase_container(
        CONTAINER,
        "acereason_trainer.prepare",
        options.prepare_image,
        environment({"HF_HOME": f"{options.store}/{DOWNLOADS}"}, run, stage, options),
        options.prepare_resources,
        options,
    )
    ours = pod_metadata(action, run, action.stage_file)
    spec = pod_spec(run, stage, container, options) | affinity(action.name, 1, action.avoid_node)
    template: Object = {"metadata": ours, "spec": spec}
    for partial in (run.spec.defaults.pod_template, stage.pod_template):
        template = merged(template, for_prepare(partial or {}))
    for partial in (run.spec.defaults.prepare_pod_template, stage.prepare_pod_template):
        template = merged(template, partial or {})
    template["metadata"] = merged(template.get("metadata"), ours)
    return template


def for_prepare(partial: Mapping[str, Any]) -> Object:
    """The part of a podTemplate that prepare takes. What is malformed is left: the API server says
    so of the train phase, which takes all."""
    spec, meta = _map(partial.get("spec")), _map(partial.get("metadata"))
    taken: Object = {name: spec[name] for name in OF_POD if name in spec}
    containers = [_taken(container) for container in stage_containers(partial)]
    if containers:
        taken["containers"] = containers
    annotations = _map(meta.get("annotations"))
    kept = {name: text for name, text in annotations.items() if name != FAST_NETWORKS}
    return {"metadata": {**meta, "annotations": kept}, "spec": taken}


def _taken(container: Mapping[str, Any]) -> Object:
    part: Object = {name: container[name] for name in OF_CONTAINER if name in container}
    return {"name": CONTAINER, **part}


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
