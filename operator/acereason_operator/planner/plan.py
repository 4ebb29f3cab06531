"""plan(): from what is wanted and what is seen to what is decided and what is to be done.

Two steps. First the status is taken as far as it goes: each pass lets every stage decide, and what
one stage decides (it is done; its artifact is corrupt) can let another go on, so passes repeat
until nothing changes. Then the actions follow from that status and from what is seen, and from
nothing else: whoever calls again with the same view gets the same actions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from acereason_trainer.config.stage_file import StageInputs

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
from acereason_operator.planner.recipe import Recipe, recipe_of
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
    view = _View(
        run=run,
        recipe=recipe_of(run.spec),
        observed=observed,
        now=now,
        context=context,
    )
    statuses = _known(view.recipe, status)
    if status.observed_generation != run.metadata.generation:
        scenes = view.scenes(statuses)
        statuses = {name: edits.applied(s, scenes[name]) for name, s in statuses.items()}
    statuses = _settled(statuses, view)
    scenes = view.scenes(statuses)
    statuses = progress.noted(statuses, scenes, now)
    after = run_status(status, statuses, scenes, run, view.recipe.order, now)
    return Plan(
        status=after,
        actions=(
            *jobs.to_stop(statuses, observed),
            *jobs.to_create(statuses, scenes, observed),
            *ttl.to_remove(run.spec, after, observed, now),
            *events.between(status, after),
        ),
        requeue_at=_later(
            now,
            *(_due(statuses[name], scene) for name, scene in scenes.items()),
            progress.next_note(statuses, scenes),
            ttl.due(run.spec, after, observed),
        ),
    )


@dataclass(frozen=True)
class _View:
    """What does not change while one plan is made."""

    run: AceReasonRun
    recipe: Recipe
    observed: Observed
    now: datetime
    context: Context

    def scenes(self, statuses: Mapping[str, StageStatus]) -> dict[str, Scene]:
        """Each stage's scene, given what was decided so far."""
        recipe = self.recipe
        return {
            stage.name: Scene(
                run=self.run,
                stage=stage,
                recipe=recipe,
                jobs=tuple(job for job in self.observed.jobs if job.stage == stage.name),
                waits_for=stages.what_it_waits_for(stage.name, recipe.order, statuses),
                inputs=self._inputs(stage.name, statuses),
                no_room=self.observed.no_room,
                now=self.now,
                context=self.context,
            )
            for stage in self.run.spec.stages
        }

    def _inputs(self, name: str, statuses: Mapping[str, StageStatus]) -> StageInputs | None:
        """Inputs of a stage that may still run."""
        if statuses[name].state in stages.FINAL:
            return None
        return stage_inputs(name, self.recipe, statuses, self.context)


def _known(recipe: Recipe, status: RunStatus) -> dict[str, StageStatus]:
    """An entry for each stage of the spec, in its order; stages no longer in it are forgotten."""
    old = {s.name: s for s in status.stages}
    return {
        stage.name: edits.adopted(old.get(stage.name, StageStatus(name=stage.name)), stage, recipe)
        for stage in recipe.spec.stages
    }


def _settled(statuses: dict[str, StageStatus], view: _View) -> dict[str, StageStatus]:
    """Every stage after all that can be decided now."""
    while True:
        scenes = view.scenes(statuses)
        after = {name: attempts.advanced(statuses[name], scenes[name]) for name in statuses}
        after = corruption.send_back(after, scenes)
        if after == statuses:
            return after
        statuses = after


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
