"""plan(): from what is wanted and what is seen to what is decided and what is to be done.

Two steps. First the status is taken as far as it goes: each pass lets every stage decide, and what
one stage decides (it is done; its artifact is corrupt) can let another go on, so passes repeat
until nothing changes. Then the actions follow from that status and from what is seen, and from
nothing else: whoever calls again with the same view gets the same actions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from acereason_operator.api.run import AceReasonRun
from acereason_operator.api.status import RunStatus, StageStatus
from acereason_operator.planner import (
    attempts,
    corruption,
    deadlines,
    edits,
    events,
    failures,
    jobs,
    progress,
    retries,
    stages,
    ttl,
)
from acereason_operator.planner.actions import Action
from acereason_operator.planner.context import Context
from acereason_operator.planner.inputs import stage_inputs
from acereason_operator.planner.observed import Observed
from acereason_operator.planner.scene import Scene
from acereason_operator.planner.status import run_status
from acereason_operator.planner.times import earliest


@dataclass(frozen=True)
class Plan:
    """A decision, and what follows from it."""

    status: RunStatus
    """Written first, under a precondition that nobody wrote since it was read."""
    actions: tuple[Action, ...]
    """Carried out after the status is written, in this order."""
    requeue_at: datetime | None
    """When to look again even if nothing is seen to change; None: no need."""


def plan(
    run: AceReasonRun, status: RunStatus, observed: Observed, now: datetime, context: Context
) -> Plan:
    """Decide for one run at one moment. Total, pure and deterministic.

    Intent before effect: whoever carries out a plan writes `plan.status` first (only if it differs
    from what was read), then performs the actions in order, and calls again when something changes
    or at `requeue_at`. A crash anywhere in between, and a plan carried out twice or late, are
    harmless. `now` has a time zone.
    """
    statuses = _known(run, status)
    if status.observed_generation != run.metadata.generation:
        scenes = _scenes(run, statuses, observed, now, context)
        statuses = {name: edits.applied(s, scenes[name]) for name, s in statuses.items()}
    statuses = _settled(run, statuses, observed, now, context)
    scenes = _scenes(run, statuses, observed, now, context)
    after = run_status(status, statuses, scenes, run, now)
    return Plan(
        status=after,
        actions=(
            *jobs.to_stop(statuses, observed),
            *jobs.to_create(statuses, scenes),
            *ttl.to_remove(run.spec, after, observed, now),
            *events.between(status, after),
        ),
        requeue_at=_later(
            now,
            *(_due(statuses[name], scene) for name, scene in scenes.items()),
            ttl.due(run.spec, after, observed),
        ),
    )


def _known(run: AceReasonRun, status: RunStatus) -> dict[str, StageStatus]:
    """An entry for each stage of the spec, in its order; stages no longer in it are forgotten."""
    old = {s.name: s for s in status.stages}
    return {s.name: old.get(s.name, StageStatus(name=s.name)) for s in run.spec.stages}


def _settled(
    run: AceReasonRun, statuses: dict[str, StageStatus], observed: Observed, now: datetime,
    context: Context,
) -> dict[str, StageStatus]:  # fmt: skip
    """Every stage after all that can be decided now."""
    while True:
        scenes = _scenes(run, statuses, observed, now, context)
        after = {name: attempts.advanced(statuses[name], scenes[name]) for name in statuses}
        after = corruption.send_back(after, scenes)
        if after == statuses:
            return after
        statuses = after


def _scenes(
    run: AceReasonRun, statuses: Mapping[str, StageStatus], observed: Observed, now: datetime,
    context: Context,
) -> dict[str, Scene]:  # fmt: skip
    return {
        stage.name: Scene(
            run=run,
            stage=stage,
            jobs=tuple(job for job in observed.jobs if job.stage == stage.name),
            waits_for=stages.what_it_waits_for(run.spec, stage, statuses),
            inputs=stage_inputs(run.spec, stage, statuses, context),
            now=now,
            context=context,
        )
        for stage in run.spec.stages
    }


def _later(now: datetime, *moments: datetime | None) -> datetime | None:
    """The first moment that is still to come: what is past has been taken into account."""
    return earliest(*(m for m in moments if m is not None and m > now))


def _due(status: StageStatus, scene: Scene) -> datetime | None:
    """When this stage has to be looked at again."""
    claim = status.attempt
    job = scene.job(claim.job) if claim else None
    if claim is None or job is None:
        return retries.due(status)
    return earliest(
        failures.due(job, scene),
        deadlines.due(status, claim, job, scene),
        progress.due(status, job, scene),
    )
