"""What has to be read from the server itself before a plan may rest on it.

A watch can lag, and the watches of Jobs and Pods lag independently: that something is not in the
cache proves nothing. A plan that would make nothing of such an absence needs no read, so in a run
without incident there is none.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from acereason_operator.api.status import RunStatus
from acereason_operator.cluster import pod_view
from acereason_operator.cluster.protocol import Object
from acereason_operator.planner.actions import CreateJob
from acereason_operator.planner.observed import JobView, Observed
from acereason_operator.planner.plan import Plan
from acereason_operator.planner.times import earliest, parse_time

PAST_GRACE = timedelta(seconds=2)
"""A pod is asked for at its node so long after its grace period: the kubelet's own end of it."""


def absent_jobs(status: RunStatus, observed: Observed, decided: Plan) -> Iterator[str]:
    """Claimed Jobs that are not seen, where the plan is not simply to create them (the server would
    answer that one is there), and was not just told that there is no room for them."""
    seen = {job.name for job in observed.jobs} | observed.no_room.keys()
    creating = {action.name for action in decided.actions if isinstance(action, CreateJob)}
    for stage in status.stages:
        claim = stage.attempt
        if claim is not None and claim.job not in seen | creating:
            yield claim.job


def lacks_pods(job: JobView) -> bool:
    """Whether fewer ends of pods are seen than a Job that is over, or ending, must have: its record
    may be in a Pod whose last change is still on its way."""
    ended = sum(pod.phase in ("Succeeded", "Failed") for pod in job.pods)
    return (job.finished or job.stopping) and ended < job.pods_wanted


def nodes(pods: Iterable[Object], now: datetime) -> set[str]:
    """Nodes of pods that look as if theirs could be gone: they ended badly, are not ready, or go on
    after their grace period."""
    return {
        pod["spec"]["nodeName"]
        for pod in pods
        if pod["spec"].get("nodeName") and (_ended_badly(pod) or _unready(pod) or _late(pod, now))
    }


def starts_since(pods: Iterable[Object]) -> datetime | None:
    """Since when the first of some pods has a node and does not run, without a word why; None where
    none is like that."""
    return earliest(*(pod_view.starts_since(pod) for pod in pods))


def next_look(pods: Iterable[Object], now: datetime) -> datetime | None:
    """When a pod that is terminating now will be past its grace period."""
    ends = (_should_have_ended(pod) for pod in pods)
    return earliest(*(end for end in ends if end is not None and end > now))


def _ended_badly(pod: Object) -> bool:
    status = pod["status"]
    codes = [c.get("state", {}).get("terminated", {}) for c in status.get("containerStatuses", [])]
    return status.get("phase") == "Failed" or any(c.get("exitCode", 0) != 0 for c in codes)


def _unready(pod: Object) -> bool:
    return pod["status"].get("phase") == "Running" and any(
        c["type"] == "Ready" and c["status"] != "True" for c in pod["status"].get("conditions", [])
    )


def _late(pod: Object, now: datetime) -> bool:
    end = _should_have_ended(pod)
    return end is not None and now >= end


def _should_have_ended(pod: Object) -> datetime | None:
    """A deletion timestamp is the end of the grace period."""
    deleted = pod["metadata"].get("deletionTimestamp")
    if deleted is None or pod["status"].get("phase") in ("Succeeded", "Failed"):
        return None
    return parse_time(deleted) + PAST_GRACE
