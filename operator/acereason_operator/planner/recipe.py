"""All that follows from a spec alone, worked out once for each plan."""

from collections.abc import Mapping
from dataclasses import dataclass

from acereason_operator.api.run import AceReasonRunSpec
from acereason_operator.planner.digests import settings_digest
from acereason_operator.planner.named_inputs import NamedInputs, named_inputs
from acereason_operator.planner.stages import Order, order_of


@dataclass(frozen=True)
class Recipe:
    """The stages of a spec: their order, what each reads, and what each is made from."""

    order: Order
    inputs: Mapping[str, NamedInputs]
    """By stage, in the order of the spec."""
    digests: Mapping[str, str]
    """Settings digest, by stage."""


def recipe_of(spec: AceReasonRunSpec) -> Recipe:
    """The recipe of a spec."""
    order = order_of(spec)
    inputs = {stage.name: named_inputs(spec, stage, order) for stage in spec.stages}
    digests = {s.name: settings_digest(spec, s, inputs[s.name]) for s in spec.stages}
    return Recipe(order, inputs, digests)
