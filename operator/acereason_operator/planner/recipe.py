"""All that follows from a spec alone, worked out once for each plan."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from acereason_operator.api.run import AceReasonRunSpec
from acereason_operator.planner.digests import settings_digest
from acereason_operator.planner.named_inputs import NamedInputs, named_inputs
from acereason_operator.planner.stages import Order, order_of


@dataclass(frozen=True)
class Recipe:
    """The stages of a spec: their order, what each reads, and what each is made from."""

    spec: AceReasonRunSpec
    order: Order
    inputs: Mapping[str, NamedInputs]
    """By stage, in the order of the spec."""

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """Settings digest, by stage; worked out for those that are asked for."""
        return _Digests(self)


class _Digests(dict[str, str]):
    """A digest costs as much as deciding on its stage, and most plans need few."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def __missing__(self, name: str) -> str:
        spec = self._recipe.spec
        stage = next(s for s in spec.stages if s.name == name)
        self[name] = settings_digest(spec, stage, self._recipe.inputs[name])
        return self[name]


def recipe_of(spec: AceReasonRunSpec) -> Recipe:
    """The recipe of a spec."""
    order = order_of(spec)
    inputs = {stage.name: named_inputs(spec, stage, order) for stage in spec.stages}
    return Recipe(spec, order, inputs)
