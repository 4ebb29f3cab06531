"""The order of stages: a graph by `needs`, whose default is the stage above."""

from collections.abc import Mapping
from dataclasses import dataclass

from acereason_operator.api.run import AceReasonRunSpec
from acereason_operator.api.status import StageStatus

DONE = ("Complete", "Reused")
FINAL = (*DONE, "Failed")


@dataclass(frozen=True)
class Order:
    """Who needs whom."""

    needs: Mapping[str, tuple[str, ...]]
    """By stage, in the order of the spec: what must be done before it."""
    ancestors: Mapping[str, Mapping[str, int]]
    """By stage: all that it needs, directly or further up, with the least number of steps there."""


def order_of(spec: AceReasonRunSpec) -> Order:
    """The graph of a spec, in which stages only need stages above them (validated)."""
    needs: dict[str, tuple[str, ...]] = {}
    ancestors: dict[str, dict[str, int]] = {}
    above: tuple[str, ...] = ()
    for stage in spec.stages:
        needs[stage.name] = above if stage.needs is None else tuple(stage.needs)
        steps: dict[str, int] = {}
        for need in needs[stage.name]:
            for name, further in ({need: 0} | ancestors[need]).items():
                steps[name] = min(further + 1, steps.get(name, further + 1))
        ancestors[stage.name] = steps
        above = (stage.name,)
    return Order(needs, ancestors)


def what_it_waits_for(name: str, order: Order, statuses: Mapping[str, StageStatus]) -> str:
    """A sentence on the needs of a stage that are not done; empty when all are."""
    open_needs = [n for n in order.needs[name] if statuses[n].state not in DONE]
    if not open_needs:
        return ""
    failed = [n for n in order.ancestors[name] if statuses[n].state == "Failed"]
    if failed:
        return f"needs {', '.join(failed)}, which failed"
    return f"needs {', '.join(open_needs)}"


def can_go_on(order: Order, statuses: Mapping[str, StageStatus]) -> bool:
    """Whether some stage still runs, or may once what it waits for is there."""
    for name, ancestors in order.ancestors.items():
        status = statuses[name]
        if status.attempt is not None:
            return True
        if status.state in FINAL:
            continue
        if all(statuses[above].state != "Failed" for above in ancestors):
            return True
    return False
