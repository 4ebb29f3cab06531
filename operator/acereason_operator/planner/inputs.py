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
from acereason_operator.planner.digests import digest_of
from acereason_operator.planner.named_inputs import NamedInputs
from acereason_operator.planner.recipe import Recipe

Pins = Mapping[str, ArtifactRef]
"""By digest of a source from outside: what it was when it was imported."""


def stage_inputs(
    inputs: NamedInputs, statuses: Mapping[str, StageStatus], pins: Pins, context: Context
) -> StageInputs | None:
    """A stage's inputs; None until every stage that it reads from is done."""
    for _, source in inputs.by_name():
        if isinstance(source, Source) and source.stage and not _made(statuses[source.stage]):
            return None

    def resolve(source: Source | ModelSource) -> ResolvedSource:
        if isinstance(source, Source) and source.stage:
            return ResolvedSource(artifact=_made(statuses[source.stage]))
        return _from_outside(source, pins, context)

    return StageInputs(
        model=resolve(inputs.model) if inputs.model else None,
        data=resolve(inputs.data) if inputs.data else None,
        held_out=[resolve(source) for source in inputs.held_out],
        validation=resolve(inputs.validation) if inputs.validation else None,
    )


def pinned(recipe: Recipe, statuses: Mapping[str, StageStatus]) -> Pins:
    """What sources from outside were when a stage that is done read them."""
    pins: dict[str, ArtifactRef] = {}
    # The first stage that read a source has the last word.
    for name in reversed(list(recipe.inputs)):
        status = statuses[name]
        if status.state not in stages.DONE or not status.prepare or not status.prepare.inputs:
            continue
        if status.settings_digest != recipe.digests[name]:
            continue  # edited since: its inputs are no longer those of the spec
        pins.update(_imported(recipe.inputs[name], status.prepare.inputs))
    return pins


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


def _from_outside(source: Source | ModelSource, pins: Pins, context: Context) -> ResolvedSource:
    if source.artifact:
        return ResolvedSource(artifact=source.artifact)
    imported = pins.get(digest_of(source.dump()))
    if imported:
        return ResolvedSource(artifact=imported)
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


def _imported(named: NamedInputs, found: PreparedInputs) -> Iterator[tuple[str, ArtifactRef]]:
    refs = dict(by_input_name(found))
    for name, source in named.by_name():
        ref = refs.get(name)
        if ref is not None and not (isinstance(source, Source) and source.stage):
            yield digest_of(source.dump()), ref
