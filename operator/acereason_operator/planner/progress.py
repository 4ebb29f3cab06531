"""Where a running stage is, as far as status tells: step, total and few metrics.

Noted at most every `Context.progress_every`, and for all stages of a run at once, since each note
is a write. Whether the step stands still for longer than the run allows is only told (condition
Stalled); the watchdog that ends such an attempt is the launcher's, so that an operator that was
away harms nothing. Where the run sets no limit, the launcher alone knows its own.
"""

from collections.abc import Mapping
from datetime import datetime

from acereason_operator.api.status import StageStatus
from acereason_operator.planner import deadlines, effective
from acereason_operator.planner.hindrances import hindrance
from acereason_operator.planner.observed import JobView
from acereason_operator.planner.scene import Scene
from acereason_operator.planner.times import earliest, parse_duration, parse_time, rfc3339


def noted(
    statuses: Mapping[str, StageStatus], scenes: Mapping[str, Scene], now: datetime
) -> dict[str, StageStatus]:
    """The run's stages with their steps as seen, if its last note is old enough."""
    at = next_note(statuses, scenes)
    if at is None or now < at:
        return dict(statuses)
    return {name: _with_step(status, scenes[name]) for name, status in statuses.items()}


def next_note(statuses: Mapping[str, StageStatus], scenes: Mapping[str, Scene]) -> datetime | None:
    """When steps that are seen may be noted; None where they all are."""
    news = [s for name, s in scenes.items() if _with_step(statuses[name], s) != statuses[name]]
    if not news:
        return None
    notes = [at for status in statuses.values() if (at := _last_note(status))]
    return max(notes) + news[0].context.progress_every if notes else news[0].now


def _with_step(status: StageStatus, scene: Scene) -> StageStatus:
    job = scene.job(status.attempt.job) if status.attempt else None
    seen = job.progress if job else None
    if seen is None:
        return status
    if (seen.step, seen.total) == (status.step, status.total_steps) and status.step_seen_at:
        return status
    return status.model_copy(
        update={
            "step": seen.step,
            "total_steps": seen.total,
            "metrics": dict(seen.metrics),
            "step_seen_at": rfc3339(scene.now),
        }
    )


def stalled(status: StageStatus, job: JobView | None, scene: Scene) -> tuple[str, str] | None:
    """(reason, sentence) where a person should look; None where work goes on."""
    name = status.name
    if job is not None:
        hindered = hindrance(job)
        if hindered and hindered.stalls_at and scene.now >= hindered.stalls_at:
            return hindered.reason, f"stage {name}: {hindered.advised}"
        at = _no_progress(status, job, scene)
        if at is not None and scene.now >= at:
            return "NoProgress", (
                f"stage {name} has stood at step {status.step} for longer than deadlines.noProgress"
                ". try: look at its log; its launcher ends the attempt, and the next one goes on"
            )
    if status.spent.pending and status.state in ("BackingOff", "Preparing", "Pending"):
        told = deadlines.given_back(status.spent.pending, scene)
        if status.message.startswith(told):
            told = status.message  # it also says what kept them from it
        return "PodsPending", (
            f"stage {name}: {told}. try: correct what it names, make room, ask for less (nodes,"
            " gpusPerNode, resources), or raise deadlines.pending"
        )
    return None


def due(status: StageStatus, job: JobView, scene: Scene) -> datetime | None:
    """When the step has stood still for too long, or nothing was there to run for too long."""
    hindered = hindrance(job)
    return earliest(_no_progress(status, job, scene), hindered.stalls_at if hindered else None)


def _last_note(status: StageStatus) -> datetime | None:
    return parse_time(status.step_seen_at) if status.step_seen_at else None


def _no_progress(status: StageStatus, job: JobView, scene: Scene) -> datetime | None:
    limit = effective.deadlines(scene.run.spec, scene.stage).no_progress
    if limit is None or job.progress is None or job.finished or job.progress_unknown:
        return None
    if not parse_duration(limit):
        return None
    noted_at = _last_note(status) if job.progress.step == status.step else None
    since = earliest(noted_at, job.step_since)
    return since + parse_duration(limit) if since else None
