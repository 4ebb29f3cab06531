"""Problems that one stage holds out and a later one trains on: no error, but worth a sentence.

A stage with `validation.heldOutShare` trains on none of what it validates on. A stage below that
holds out less of the same data does, and then neither its own weights nor those of a third stage
can be measured on these problems any more.
"""

from collections.abc import Iterator

from acereason_trainer.config.rl import RL
from acereason_trainer.config.sources import ModelSource, Source

from acereason_operator.api.run import AceReasonRunSpec, Stage
from acereason_operator.planner.recipe import Recipe, recipe_of


def trained_on_later(spec: AceReasonRunSpec) -> list[str]:
    """A sentence for each stage that trains on what one above it validates on."""
    recipe, found = recipe_of(spec), []
    for stage in spec.stages:
        above = [s for s in spec.stages if s.name in recipe.order.ancestors[stage.name]]
        settings = stage.settings
        if not isinstance(settings, RL):
            continue
        named = [s.name for s in above if _shares(s, stage, recipe) and _held(s) > _held(stage)]
        if named:
            found.append(
                f"stage {stage.name} trains on problems that {' and '.join(named)} hold"
                f"{'s' if len(named) == 1 else ''} out (validation.heldOutShare): accuracy on them "
                f"is no measure from there on; give {stage.name} the same share"
            )
    return found


def _shares(one: Stage, other: Stage, recipe: Recipe) -> bool:
    """Whether two stages draw from the same data in the same domain."""
    same = set(_roots(one.name, recipe)) & set(_roots(other.name, recipe))
    return one.kind == other.kind and bool(same)


def _held(stage: Stage) -> float:
    settings = stage.settings
    if not isinstance(settings, RL) or settings.validation is None:
        return 0.0
    return settings.validation.held_out_share or 0.0


def _roots(stage: str, recipe: Recipe) -> Iterator[str]:
    """What a stage's data is made from, outside of the run."""
    source: Source | ModelSource | None = recipe.inputs[stage].data
    if isinstance(source, Source) and source.stage:
        yield from _roots(source.stage, recipe)
    elif source is not None:
        yield str(source.dump())
