"""What people are told: the differences between the status that was and the one that will be."""

from collections.abc import Iterator

from acereason_operator.api.status import RunStatus, StageStatus
from acereason_operator.planner.actions import RecordEvent
from acereason_operator.planner.edits import RESULT_STANDS
from acereason_operator.planner.status import is_true


def between(before: RunStatus, after: RunStatus) -> Iterator[RecordEvent]:
    """Events of one decision."""
    old = {s.name: s for s in before.stages}
    for stage in after.stages:
        yield from _of_stage(old.get(stage.name, StageStatus(name=stage.name)), stage)
    for condition in after.conditions:
        if condition.status == "True" and not is_true(before, condition.type):
            bad = condition.type in ("Failed", "Stalled")
            yield RecordEvent(
                "Warning" if bad else "Normal", f"Run{condition.type}", condition.message
            )


def _of_stage(old: StageStatus, new: StageStatus) -> Iterator[RecordEvent]:
    if new.last_failure and new.last_failure != old.last_failure and new.state != "Failed":
        yield RecordEvent("Warning", "AttemptFailed", new.last_failure.message)
    if RESULT_STANDS in new.message and new.message != old.message:
        yield RecordEvent("Warning", "EditIgnored", new.message)
    if new.state == old.state:
        return
    match new.state:
        case "Complete" | "Reused":
            made = new.artifact.uri if new.artifact else "nothing"
            yield RecordEvent("Normal", f"Stage{new.state}", f"stage {new.name}: {made}")
        case "Failed":
            yield RecordEvent("Warning", "StageFailed", new.message)
        case "Suspended":
            yield RecordEvent("Normal", "StageSuspended", f"stage {new.name} is {new.message}")
