"""`spec.ttlAfterFinished`: a finished run's Jobs are removed by us, not by a TTL of their own, so
that none goes before its result is in status."""

from collections.abc import Iterator
from datetime import datetime

from acereason_operator.api.run import AceReasonRunSpec
from acereason_operator.api.status import RunStatus
from acereason_operator.planner.actions import RemoveJob
from acereason_operator.planner.observed import Observed
from acereason_operator.planner.times import parse_duration, parse_time


def to_remove(
    spec: AceReasonRunSpec, status: RunStatus, observed: Observed, now: datetime
) -> Iterator[RemoveJob]:
    """Jobs of a run that finished long enough ago."""
    at = _removal(spec, status)
    if at is not None and now >= at:
        for job in sorted(observed.jobs, key=lambda j: j.name):
            if job.finished:
                yield RemoveJob(job.name)


def due(spec: AceReasonRunSpec, status: RunStatus, observed: Observed) -> datetime | None:
    """When Jobs are to be removed; None where none are left or the run goes on."""
    return _removal(spec, status) if observed.jobs else None


def _removal(spec: AceReasonRunSpec, status: RunStatus) -> datetime | None:
    if spec.ttl_after_finished is None or status.finished_at is None:
        return None
    return parse_time(status.finished_at) + parse_duration(spec.ttl_after_finished)
