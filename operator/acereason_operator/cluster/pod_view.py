"""One pod as the planner sees it: why it waits, how it ended, what it left."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta

from acereason_trainer.config.stage_file import PrepareRecord, ResultRecord
from pydantic import ValidationError

from acereason_operator.cluster import prepare_pod, train_pod
from acereason_operator.cluster.conditions import condition
from acereason_operator.cluster.events import newest, note_of
from acereason_operator.cluster.protocol import Object
from acereason_operator.planner.hindrances import CANNOT_BE_SET_UP
from acereason_operator.planner.observed import Phase, PodPhase, PodView
from acereason_operator.planner.times import parse_time

CONTAINER: dict[Phase, str] = {"Prepare": prepare_pod.CONTAINER, "Train": train_pod.CONTAINER}

TAKEN = (
    "Evicted",
    "Preempting",
    "Preempted",
    "NodeShutdown",
    "NodeLost",
    "Shutdown",
    "Terminated",
    "NodeAffinity",
    "UnexpectedAdmissionError",
    "OutOf",
)
"""Beginnings of a pod's `status.reason` that say that its node, not its containers, ended it (the
kubelet's evictions, shutdowns, and refusals to admit it)."""

MORE_MEMORY: dict[Phase, str] = {
    "Prepare": "resources.limits.memory of the container prepare in preparePodTemplate",
    "Train": "resources.limits.memory of the stage",
}
"""What a person writes where a phase needs more."""

STARTING = ("ContainerCreating", "PodInitializing")
"""Waiting reasons that say nothing: an image that is pulled looks like a volume that is not there.
What keeps such a pod shows in its Events alone."""

SET_UP = ("Pulling", "Pulled", "Created", "Started")
"""Reasons of Events that a pod can have only once its volumes and its network are there."""

_LOST = "ContainerStatusUnknown"
"""Reason of an ended container that the kubelet did not see end; its exit code (137) is made up."""

PHASES: tuple[PodPhase, ...] = ("Pending", "Running", "Succeeded", "Failed", "Unknown")


def pod_view(
    pod: Object,
    phase: Phase,
    node_ready: Callable[[str], bool | None],
    events: Iterable[Object] = (),
) -> PodView:
    """A pod of a Job of this phase.

    node_ready: by node name, None where nodes may not be read; asked only where it has a node.
    events: of this pod, where it does not start; those of others are left out.
    """
    meta, status = pod["metadata"], pod.get("status") or {}
    node: str = pod.get("spec", {}).get("nodeName") or ""
    end = _end(status, CONTAINER[phase])
    waiting = next(_waiting(status), None) or _not_set_up(pod, events)
    result = _result(status, end) if phase == "Train" else _out_of_memory(end, phase)
    recorded = result is not None or (phase == "Prepare" and prepare_record(pod) is not None)
    return PodView(
        name=meta["name"],
        phase=next((p for p in PHASES if p == status.get("phase")), "Pending"),
        node=node,
        node_ready=node_ready(node) if node else True,
        disrupted=_disrupted(status),
        placed_at=_placed_at(status),
        waiting_reason=waiting[0],
        waiting_message=waiting[1],
        exit_code=end.get("exitCode") if end.get("reason") != _LOST else None,
        started_at=_time(end.get("startedAt")) or _running_since(status, CONTAINER[phase]),
        finished_at=_time(end.get("finishedAt")) or _ended_at(status),
        terminating_since=asked_to_end(meta),
        grace_ends_at=_time(meta.get("deletionTimestamp")),
        result=result,
        # FallbackToLogsOnError: without a record, the message is the end of the log.
        log_tail="" if recorded else end.get("message") or "",
    )


def starts_since(pod: Object) -> datetime | None:
    """Since when a pod has a node and none of its containers has run or said why it does not; None
    for any other pod."""
    status = pod.get("status") or {}
    pending = status.get("phase") == "Pending" and "deletionTimestamp" not in pod["metadata"]
    begun = any(set(container.get("state") or {}) - {"waiting"} for container in _all(status))
    if not pending or begun or next(_waiting(status), None):
        return None
    return _placed_at(status)


def prepare_record(pod: Object) -> PrepareRecord | None:
    """What prepare left, if it did."""
    end = _end(pod.get("status") or {}, prepare_pod.CONTAINER)
    try:
        return PrepareRecord.parse_json(end.get("message") or "")
    except ValidationError:
        return None


def _result(status: Object, end: Object) -> ResultRecord | None:
    """The launcher's record. Two ends are explained without one: the kernel's, for want of memory,
    and an init container's, before which there was no launcher."""
    try:
        return ResultRecord.parse_json(end.get("message") or "")
    except ValidationError:
        pass
    return _out_of_memory(end, "Train") or _init_failure(status)


def _out_of_memory(end: Object, phase: Phase) -> ResultRecord | None:
    if end.get("reason") != "OOMKilled":
        return None
    return ResultRecord(
        exit_code=end["exitCode"],
        reason="OutOfMemory",
        message=f"its container was killed at its limit of memory ({MORE_MEMORY[phase]} raises it)",
        log_tail=end.get("message") or "",
    )


def _init_failure(status: Object) -> ResultRecord | None:
    for container in status.get("initContainerStatuses") or ():
        end = (container.get("state") or {}).get("terminated") or {}
        if status.get("phase") == "Failed" and end.get("exitCode"):
            return ResultRecord(
                exit_code=end["exitCode"],
                reason="InitContainerFailed",
                message=f"init container {container['name']} ended with {end['exitCode']}",
                log_tail=end.get("message") or "",
            )
    return None


def _end(status: Object, container: str) -> Object:
    """The `terminated` state of a container; empty while it runs, and where it is unknown."""
    return _state(status, container).get("terminated") or {}


def _state(status: Object, container: str) -> Object:
    statuses: list[Object] = status.get("containerStatuses") or []
    found = next((s for s in statuses if s["name"] == container), {})
    return found.get("state") or {}


def _running_since(status: Object, container: str) -> datetime | None:
    return _time((_state(status, container).get("running") or {}).get("startedAt"))


def _disrupted(status: Object) -> bool:
    reason: str = status.get("reason") or ""
    return reason.startswith(TAKEN) or condition(status, "DisruptionTarget") is not None


def _placed_at(status: Object) -> datetime | None:
    return _time((condition(status, "PodScheduled") or {}).get("lastTransitionTime"))


def _not_set_up(pod: Object, events: Iterable[Object]) -> tuple[str, str]:
    """(reason, message) of the Event that says why a pod's containers are not made; empty where
    none does, or where a later one shows that the trouble is over."""
    name = pod["metadata"]["name"]
    told = newest(events, (*CANNOT_BE_SET_UP, *SET_UP), of=name)
    if starts_since(pod) is None or told.get("reason") not in CANNOT_BE_SET_UP:
        return "", ""
    return told["reason"], note_of(told)


def _all(status: Object) -> Iterator[Object]:
    """Statuses of all containers."""
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def _waiting(status: Object) -> Iterator[tuple[str, str]]:
    """(reason, message) of whatever keeps a container from starting, the most telling first."""
    for container in _all(status):
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason = waiting.get("reason") or ""
        if reason and reason not in STARTING:
            yield reason, waiting.get("message") or ""
    unscheduled = condition(status, "PodScheduled", "False")
    if unscheduled is not None:
        yield unscheduled.get("reason") or "Unschedulable", unscheduled.get("message") or ""


def _ended_at(status: Object) -> datetime | None:
    """For a pod whose container ended unseen: when it stopped being ready, or was taken."""
    if status.get("phase") not in ("Succeeded", "Failed"):
        return None
    told = (condition(status, "DisruptionTarget"), condition(status, "Ready", "False"))
    return next((_time(c.get("lastTransitionTime")) for c in told if c is not None), None)


def asked_to_end(meta: Object) -> datetime | None:
    """When the deletion of a pod was asked for: `deletionTimestamp` is the moment at which the
    grace period is over."""
    over = _time(meta.get("deletionTimestamp"))
    if over is None:
        return None
    return over - timedelta(seconds=meta.get("deletionGracePeriodSeconds") or 0)


def _time(text: str | None) -> datetime | None:
    return parse_time(text) if text else None
