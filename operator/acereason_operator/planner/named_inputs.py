"""What a stage reads, as the spec names it: given there, or the newest of its kind along `needs`.

"Newest" is the nearest ancestor of the kind that no other such ancestor was made from; where two
branches offer one at the same distance, the later one in the file.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from acereason_trainer.config.sources import ModelSource, Source
from acereason_trainer.config.stage_file import OUTPUT_KIND, ArtifactKind

from acereason_operator.api.run import AceReasonRunSpec, Stage
from acereason_operator.planner.stages import Order


@dataclass(frozen=True)
class NamedInputs:
    """Sources of one stage."""

    model: Source | ModelSource | None
    data: Source | None
    held_out: tuple[Source, ...]
    validation: Source | None

    def producer(self, name: str) -> str | None:
        """The stage that makes the input of that name; None where it is from outside the run."""
        source = dict(self.by_name()).get(name)
        return source.stage if isinstance(source, Source) else None

    def by_name(self) -> Iterator[tuple[str, Source | ModelSource]]:
        """(name, source) of each that is there; names are those of `PrepareRecord.corrupt_input`:
        model, data, heldOut[0], heldOut[1], ..., validation."""
        if self.model is not None:
            yield "model", self.model
        if self.data is not None:
            yield "data", self.data
        for i, source in enumerate(self.held_out):
            yield f"heldOut[{i}]", source
        if self.validation is not None:
            yield "validation", self.validation


def named_inputs(spec: AceReasonRunSpec, stage: Stage, order: Order) -> NamedInputs:
    """The sources that the stage file will be made from."""
    given = stage.inputs
    return NamedInputs(
        model=given.model or (_default_model(spec, stage, order) if _uses_a_model(stage) else None),
        data=given.data or _newest(spec, stage, "data", order),
        held_out=tuple(given.held_out),
        validation=given.validation,
    )


def _uses_a_model(stage: Stage) -> bool:
    """A model that a stage never loads must not be in its key."""
    return stage.curate is None or stage.curate.pass_rate is not None


def _default_model(spec: AceReasonRunSpec, stage: Stage, order: Order) -> Source | ModelSource:
    return _newest(spec, stage, "model", order) or spec.model


def _newest(
    spec: AceReasonRunSpec, stage: Stage, kind: ArtifactKind, order: Order
) -> Source | None:
    distance = order.ancestors[stage.name]
    made = [s.name for s in spec.stages if s.name in distance and OUTPUT_KIND[s.kind] == kind]
    used = {name for other in made for name in order.ancestors[other]}
    heads = [name for name in made if name not in used]
    if not heads:
        return None
    return Source(stage=min(reversed(heads), key=lambda name: distance[name]))
