"""The part of an object that is remembered: what some decision looks at, and nothing else.

Two gains: a thousand runs fit into little memory, and a change of anything else (a count of ready
pods, a managed field) is no news, so nobody plans for it.
"""

from typing import Any

from acereason_operator.api.run import GROUP
from acereason_operator.cluster.protocol import JOB, POD, RUN, Kind, Object

RUN_OBJECTS = f"{GROUP}/run-objects"
"""Annotation of a Job: digest of the run's own objects (Services, claims) as they were applied
before the Job was made."""

METADATA = (
    "name",
    "namespace",
    "uid",
    "generation",
    "labels",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
)
JOB_SPEC = ("completions", "parallelism", "suspend")
JOB_STATUS = ("conditions", "startTime", "completionTime")
POD_SPEC = ("nodeName", "terminationGracePeriodSeconds")
POD_STATUS = (
    "phase",
    "reason",
    "message",
    "startTime",
    "conditions",
    "podIP",
    "initContainerStatuses",
    "containerStatuses",
)
CONTAINER_STATUS = ("name", "state")
CONDITION = ("type", "status", "reason", "message", "lastTransitionTime")
ANNOTATIONS = (RUN_OBJECTS,)
"""Others are large (kubectl's copy of a run, a Pod's stage file) and nothing is read in them."""


def remembered(kind: Kind, whole: Object) -> Object:
    """The object without what nobody looks at; its resourceVersion is left out too."""
    metadata = _only(whole["metadata"], METADATA)
    metadata["annotations"] = {
        name: text
        for name, text in (whole["metadata"].get("annotations") or {}).items()
        if name in ANNOTATIONS
    }
    part: Object = {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": metadata,
        "spec": whole.get("spec", {}),
        "status": whole.get("status", {}),
    }
    if kind == RUN:
        return part
    if kind == JOB:
        part["spec"] = _only(part["spec"], JOB_SPEC)
        part["status"] = _of_job(part["status"])
    elif kind == POD:
        part["spec"] = _only(part["spec"], POD_SPEC)
        part["status"] = _of_pod(part["status"])
    return part


def _of_job(status: Object) -> Object:
    kept = _only(status, JOB_STATUS)
    kept["conditions"] = [_only(c, CONDITION) for c in kept.get("conditions") or []]
    return kept


def _of_pod(status: Object) -> Object:
    kept = _only(status, POD_STATUS)
    kept["conditions"] = [_only(c, CONDITION) for c in kept.get("conditions") or []]
    for name in ("initContainerStatuses", "containerStatuses"):
        kept[name] = [_only(c, CONTAINER_STATUS) for c in kept.get(name) or []]
    return kept


def _only(data: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: data[name] for name in names if name in data}
