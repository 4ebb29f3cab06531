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
        """Settings digest, by stage. Half of a plan's time, and most plans never ask."""
        return {
            s.name: settings_digest(self.spec, s, self.inputs[s.name]) for s in self.spec.stages
        }


def recipe_of(spec: AceReasonRunSpec) -> Recipe:
    """The recipe of a spec."""
    order = order_of(spec)
    inputs = {stage.name: named_inputs(spec, stage, order) for stage in spec.stages}
    return Recipe(spec, order, inputs)
