"""What should run and what should not: a function of the claims and of what is seen."""

from collections.abc import Iterator, Mapping

from acereason_trainer.config.stage_file import StageFile, StageInputs, StageSettings

from acereason_operator.api.status import AttemptClaim, StageStatus
from acereason_operator.planner import corruption, effective
from acereason_operator.planner.actions import CreateJob, StopJob
from acereason_operator.planner.ends import ends_by_itself
from acereason_operator.planner.observed import Observed
from acereason_operator.planner.scene import Scene
from acereason_operator.planner.times import parse_duration


def to_stop(statuses: Mapping[str, StageStatus], observed: Observed) -> Iterator[StopJob]:
    """Jobs in flight that no claim wants: of an attempt that is being ended, of an older one, of a
    stage that is no longer in the run, or made by a plan that was carried out late.

    One that ends anyway is left to it, since stopping it would take its failed pods' logs away."""
    for job in sorted(observed.jobs, key=lambda j: j.name):
        if job.stopping or ends_by_itself(job):
            continue
        status = statuses.get(job.stage)
        claim = status.attempt if status else None
        if claim is None or claim.job != job.name:
            yield StopJob(job.name, "Superseded")
        elif claim.stopping is not None:
            yield StopJob(job.name, claim.stopping)


def to_create(
    statuses: Mapping[str, StageStatus], scenes: Mapping[str, Scene], observed: Observed
) -> Iterator[CreateJob]:
    """Jobs that are claimed and were never seen, in the order of the spec; not those for which
    there was no room just now."""
    for name, scene in scenes.items():
        claim = statuses[name].attempt
        if claim is None or claim.seen or claim.stopping or scene.inputs is None:
            continue
        if claim.job in observed.no_room:
            continue
        yield CreateJob(
            name=claim.job,
            stage=name,
            attempt=claim.number,
            phase=claim.phase,
            stage_file=_stage_file(statuses[name], claim, scene.inputs, scene),
            avoid_node=corruption.node_to_avoid(statuses[name]),
        )


def _stage_file(
    status: StageStatus, claim: AttemptClaim, inputs: StageInputs, scene: Scene
) -> StageFile:
    spec, stage = scene.run.spec, scene.stage
    no_progress = effective.deadlines(spec, stage).no_progress
    return StageFile(
        run=scene.run.metadata.name,
        namespace=scene.namespace,
        stage=stage.name,
        attempt=claim.number,
        seed=spec.seed,
        salt=status.salt,
        before_step=status.before_step,
        store=scene.context.store,
        settings=StageSettings(
            curate=stage.curate,
            sft=stage.sft,
            math_rl=stage.math_rl,
            code_rl=stage.code_rl,
            evaluate=stage.evaluate,
        ),
        inputs=inputs,
        ranks=effective.ranks(spec, stage, scene.context),
        nodes=effective.nodes(spec, stage, scene.context),
        no_progress_seconds=parse_duration(no_progress).total_seconds() if no_progress else None,
        grace_seconds=scene.grace.total_seconds(),
        prepared=claim.prepared,
    )
