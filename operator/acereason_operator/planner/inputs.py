"""What a stage reads, as its stage file says it: artifacts where there are some, else what to
import.

A source from outside is imported when a stage first needs it. Once a stage that read it is done,
the rest of the run reads that artifact: a file that changes on disk changes nothing half-way.
"""

from collections.abc import Iterator, Mapping

from acereason_trainer.config.sources import (
    ArtifactRef,
    FromConfig,
    ModelSource,
    ResolvedSource,
    Source,
)
from acereason_trainer.config.stage_file import PreparedInputs, StageInputs

from acereason_operator.api.status import StageStatus
from acereason_operator.planner import stages
from acereason_operator.planner.context import Context
from acereason_operator.planner.recipe import Recipe


def stage_inputs(
    name: str, recipe: Recipe, statuses: Mapping[str, StageStatus], context: Context
) -> StageInputs | None:
    """A stage's inputs; None until every stage that it reads from is done."""
    inputs = recipe.inputs[name]
    for _, source in inputs.by_name():
        if isinstance(source, Source) and source.stage and not _made(statuses[source.stage]):
            return None

    def resolve(source: Source | ModelSource) -> ResolvedSource:
        if isinstance(source, Source) and source.stage:
            return ResolvedSource(artifact=_made(statuses[source.stage]))
        imported = source.artifact or _imported(source, recipe, statuses)
        return ResolvedSource(artifact=imported) if imported else _to_import(source, context)

    return StageInputs(
        model=resolve(inputs.model) if inputs.model else None,
        data=resolve(inputs.data) if inputs.data else None,
        held_out=[resolve(source) for source in inputs.held_out],
        validation=resolve(inputs.validation) if inputs.validation else None,
    )


def by_input_name(found: PreparedInputs) -> Iterator[tuple[str, ArtifactRef]]:
    """(name, artifact) of each input that is there, named as `NamedInputs.by_name` names them."""
    if found.model is not None:
        yield "model", found.model
    if found.data is not None:
        yield "data", found.data
    for i, ref in enumerate(found.held_out):
        yield f"heldOut[{i}]", ref
    if found.validation is not None:
        yield "validation", found.validation


def _made(status: StageStatus) -> ArtifactRef | None:
    if status.state not in stages.DONE or status.artifact is None:
        return None
    return ArtifactRef(uri=status.artifact.uri, digest=status.artifact.digest)


def _imported(
    source: Source | ModelSource, recipe: Recipe, statuses: Mapping[str, StageStatus]
) -> ArtifactRef | None:
    """What a source from outside was when the first stage that is done read it."""
    wanted = source.dump()
    for name, named in recipe.inputs.items():
        status = statuses[name]
        if status.state not in stages.DONE or not status.prepare or not status.prepare.inputs:
            continue
        refs = dict(by_input_name(status.prepare.inputs))
        read = [key for key, other in named.by_name() if key in refs and other.dump() == wanted]
        # Edited since: its inputs are no longer those of the spec.
        if read and status.settings_digest == recipe.digests[name]:
            return refs[read[0]]
    return None


def _to_import(source: Source | ModelSource, context: Context) -> ResolvedSource:
    if source.path:
        return ResolvedSource(path=context.resolve(source.path))
    if source.hub:
        return ResolvedSource(hub=source.hub)
    assert isinstance(source, ModelSource) and source.from_config  # validated: one is set
    made = source.from_config
    return ResolvedSource(
        from_config=FromConfig(
            config=context.resolve(made.config),
            tokenizer=context.resolve(made.tokenizer),
            seed=made.seed,
        )
    )
