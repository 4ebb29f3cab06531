"""What a decision adds to the metrics: the differences between the status before and after it."""

from acereason_operator.api.run import AceReasonRun
from acereason_operator.api.status import Failure, RunStatus, StageStatus
from acereason_operator.planner.observed import Observed
from acereason_operator.planner.times import parse_time
from acereason_operator.runtime.metrics import CAUSES, ENDS, Metrics


def record(
    metrics: Metrics, run: AceReasonRun, before: RunStatus, after: RunStatus, observed: Observed
) -> None:
    """Count the ends of stages and attempts that one written decision holds.

    Counted by whoever wrote it, so once for all replicas; lost where it dies right after.
    """
    kinds = {stage.name: stage.kind for stage in run.spec.stages}
    old = {stage.name: stage for stage in before.stages}
    for stage in after.stages:
        was, kind = old.get(stage.name, StageStatus(name=stage.name)), kinds[stage.name]
        if stage.state != was.state and stage.state in ENDS:
            _stage_ended(metrics, kind, stage, was, observed)
        if stage.last_failure is not None and stage.last_failure != was.last_failure:
            _attempt_failed(metrics, kind, stage.last_failure)


def _stage_ended(
    metrics: Metrics, kind: str, stage: StageStatus, was: StageStatus, observed: Observed
) -> None:
    metrics.stage_ends.labels(kind, stage.state).inc()
    if stage.state != "Complete" or stage.artifact is None:
        return
    metrics.handoff_bytes.labels(kind).observe(stage.artifact.bytes)
    if stage.started_at and stage.finished_at:
        took = parse_time(stage.finished_at) - parse_time(stage.started_at)
        metrics.stage_seconds.labels(kind).observe(took.total_seconds())
    job = next((j for j in observed.jobs if was.attempt and j.name == was.attempt.job), None)
    if job is not None and job.result is not None and job.result.publish_seconds is not None:
        metrics.handoff_seconds.labels(kind).observe(job.result.publish_seconds)


def _attempt_failed(metrics: Metrics, kind: str, failure: Failure) -> None:
    metrics.attempts.labels(kind, CAUSES[failure.verdict]).inc()
    if failure.verdict == "CorruptInput":
        metrics.corrupt.labels(kind).inc()
