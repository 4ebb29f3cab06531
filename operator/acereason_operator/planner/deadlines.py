"""When waiting ends: `pending` for pods that do not all run, `active` for attempts together.

An attempt past `pending` gives all its pods back and tries again later, so that half a job never
holds what another needs; nobody is charged. Time in a queue counts for neither. (The third
deadline, `noProgress`, is the launcher's: the planner only tells of it.)
"""

from datetime import datetime, timedelta

from acereason_operator.api.status import AttemptClaim, StageStatus, StopReason
from acereason_operator.planner import effective
from acereason_operator.planner.observed import JobView
from acereason_operator.planner.scene import Scene
from acereason_operator.planner.times import earliest, parse_duration, parse_time, rfc3339

OF_A_GANG = "30m"
"""Where nothing is said and an attempt has several pods: two runs that hold half of the nodes each
would wait for each other for ever. Long enough to add nodes, and to pull an image of 20 GB; if it
is not, the image is there for the next attempt."""


def passed(status: StageStatus, claim: AttemptClaim, job: JobView, scene: Scene) -> (
    StopReason | None
):  # fmt: skip
    """The deadline that an attempt in flight has passed, if any."""
    pending, active = _pending(claim, job, scene), _active(status, claim, scene)
    if active is not None and scene.now >= active:
        return "ActiveDeadline"
    if pending is not None and scene.now >= pending:
        return "PendingDeadline"
    return None


def due(status: StageStatus, claim: AttemptClaim, job: JobView, scene: Scene) -> datetime | None:
    """When the next deadline passes."""
    return earliest(_pending(claim, job, scene), _active(status, claim, scene))


def given_back(tries: int, scene: Scene) -> str:
    """A clause on an attempt whose pods were given back for the `tries`-th time in a row."""
    often = f", {tries} times in a row" if tries > 1 else ""
    return f"pods did not all run within {_pending_limit(scene)} (deadlines.pending){often}"


def with_clock(status: StageStatus, claim: AttemptClaim, job: JobView, scene: Scene) -> StageStatus:
    """Start the attempt's clock when all its pods run, stop it while a queue holds them.

    Preparing has no clock: it counts for no deadline once its pod runs, and to note that it does
    would be a write of its own.
    """
    if claim.phase == "Prepare":
        return status
    if job.queued:
        return stopped_clock(status, claim, job.queued_since or scene.now)
    if claim.started_at is None and _all_run(job):
        running = claim.model_copy(update={"started_at": rfc3339(scene.now)})
        spent = status.spent.model_copy(update={"pending": 0})
        return status.model_copy(update={"attempt": running, "spent": spent})
    return status


def stopped_clock(status: StageStatus, claim: AttemptClaim, until: datetime) -> StageStatus:
    """Add what the attempt ran to the stage's account. Its step does not stand still meanwhile."""
    if claim.started_at is None:
        return status
    ran = max((until - parse_time(claim.started_at)).total_seconds(), 0.0)
    return status.model_copy(
        update={
            "attempt": claim.model_copy(update={"started_at": None}),
            "active_seconds": status.active_seconds + round(ran, 3),
            "step_seen_at": None,
        }
    )


def ran_until(job: JobView | None, now: datetime) -> datetime:
    """When an attempt that is over stopped running, which may be long before anybody looked: an
    operator that is away must not use up `active`. By its pods; by its Job where they are gone; now
    where neither says."""
    if job is None:
        return now
    ends = [pod.finished_at or pod.terminating_since for pod in job.pods]
    known = [end for end in ends if end is not None]
    if len(known) == len(ends) >= job.pods_wanted:
        return min(max(known), now)
    return min(job.finished_at or now, now)


def _pending_limit(scene: Scene) -> str:
    """What holds for pods that do not all run, of a gang at least: `30m`."""
    return effective.deadlines(scene.run.spec, scene.stage).pending or OF_A_GANG


def _all_run(job: JobView) -> bool:
    started = [p for p in job.pods if p.phase in ("Running", "Succeeded", "Failed")]
    return bool(started) and len(started) >= job.pods_wanted


def _pending(claim: AttemptClaim, job: JobView, scene: Scene) -> datetime | None:
    said = effective.deadlines(scene.run.spec, scene.stage).pending is not None
    if job.pods_wanted == 1 and not said:
        return None
    if job.queued or job.finished or claim.started_at or _all_run(job):
        return None
    return (job.admitted_at or job.created_at) + parse_duration(_pending_limit(scene))


def _active(status: StageStatus, claim: AttemptClaim, scene: Scene) -> datetime | None:
    limit = effective.deadlines(scene.run.spec, scene.stage).active
    if limit is None or claim.phase == "Prepare" or claim.started_at is None:
        return None
    left = parse_duration(limit) - timedelta(seconds=status.active_seconds)
    return parse_time(claim.started_at) + left
