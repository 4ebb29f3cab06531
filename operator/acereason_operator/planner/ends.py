"""When a Job is over: the question before every verdict and every next attempt."""

from datetime import datetime, timedelta

from acereason_operator.planner.observed import JobView, PodView

UNSEEN = timedelta(seconds=20)
"""Before a pod that goes on after its grace period is lost, where its node may not be read: a
kubelet that is busy, or a clock that differs from the server's, must not look like one that is
gone. A wrong guess costs one attempt and no result: two at once write into folders of their own."""


def is_over(job: JobView, now: datetime) -> bool:
    """Whether nothing of it runs any more, as far as can ever be known."""
    if job.finished:
        return True
    if not all(ended(pod) or is_lost(pod, now) for pod in job.pods):
        return False
    return job.stopping or _all_there(job)


def ends_by_itself(job: JobView) -> bool:
    """Whether its pods have all ended and at most the Job's own mark is missing."""
    return job.finished or (_all_there(job) and all(ended(pod) for pod in job.pods))


def ended(pod: PodView) -> bool:
    """Whether its containers have ended."""
    return pod.phase in ("Succeeded", "Failed")


def is_lost(pod: PodView, now: datetime) -> bool:
    """Whether its node went away with it: past its grace period, and nobody there to end it."""
    since = lost_since(pod)
    return since is not None and now >= since


def lost_since(pod: PodView) -> datetime | None:
    """The moment from which a pod that still does not end is lost; None where its node is well."""
    if pod.node_ready or pod.grace_ends_at is None or ended(pod):
        return None
    return pod.grace_ends_at + (UNSEEN if pod.node_ready is None else timedelta())


def _all_there(job: JobView) -> bool:
    return bool(job.pods) and len(job.pods) >= job.pods_wanted
