"""The order of stages: a graph by `needs`, whose default is the stage above."""

from collections.abc import Mapping

from acereason_operator.api.run import AceReasonRunSpec, Stage
from acereason_operator.api.status import StageStatus

DONE = ("Complete", "Reused")
FINAL = (*DONE, "Failed")


def named(spec: AceReasonRunSpec, name: str) -> Stage:
    """The stage of that name. Raises KeyError where there is none."""
    for stage in spec.stages:
        if stage.name == name:
            return stage
    raise KeyError(name)


def needs(spec: AceReasonRunSpec, stage: Stage) -> tuple[str, ...]:
    """Names of the stages that must be done before this one."""
    if stage.needs is not None:
        return tuple(stage.needs)
    above = spec.stages.index(stage) - 1
    return (spec.stages[above].name,) if above >= 0 else ()


def ancestors(spec: AceReasonRunSpec, stage: Stage) -> dict[str, int]:
    """All that it needs, directly or further up, with the least number of steps to each."""
    distance: dict[str, int] = {}
    frontier = needs(spec, stage)
    steps = 1
    while frontier:
        new = [name for name in dict.fromkeys(frontier) if name not in distance]
        distance.update((name, steps) for name in new)
        frontier = tuple(n for name in new for n in needs(spec, named(spec, name)))
        steps += 1
    return distance


def what_it_waits_for(
    spec: AceReasonRunSpec, stage: Stage, statuses: Mapping[str, StageStatus]
) -> str:
    """A sentence on the needs that are not done; empty when all are."""
    open_needs = [n for n in needs(spec, stage) if statuses[n].state not in DONE]
    if not open_needs:
        return ""
    failed = [n for n in ancestors(spec, stage) if statuses[n].state == "Failed"]
    if failed:
        return f"needs {', '.join(failed)}, which failed"
    return f"needs {', '.join(open_needs)}"


def can_go_on(spec: AceReasonRunSpec, statuses: Mapping[str, StageStatus]) -> bool:
    """Whether some stage still runs, or may once what it waits for is there."""
    for stage in spec.stages:
        status = statuses[stage.name]
        if status.attempt is not None:
            return True
        if status.state in FINAL:
            continue
        if all(statuses[name].state != "Failed" for name in ancestors(spec, stage)):
            return True
    return False
