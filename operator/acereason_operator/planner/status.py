"""The run's own part of status: conditions for programs, a few words for the eye.

Everything here is derived from the stages; nothing of it is read back, except the times at which
conditions changed.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime

from acereason_operator.api.run import AceReasonRun
from acereason_operator.api.status import (
    AttemptClaim,
    Condition,
    ConditionType,
    RunStatus,
    StageStatus,
    StopReason,
)
from acereason_operator.planner import progress, stages
from acereason_operator.planner.messages import fitting
from acereason_operator.planner.scene import Scene
from acereason_operator.planner.times import rfc3339

Holds = tuple[bool, str, str]
"""(whether it holds, CamelCase reason, sentence)."""

_TROUBLES: tuple[ConditionType, ...] = ("Failed", "Suspended", "Stalled")
_OF_STAGES = re.compile(r"; (?=stage \S+ goes on;)")
"""Between the sentences of several stages in ProgressUnknown."""
_NOTES = ("step", "total_steps", "step_seen_at", "metrics")
"""What is noted of a stage that runs, and decides nothing."""


def run_status(
    before: RunStatus, statuses: Mapping[str, StageStatus], scenes: Mapping[str, Scene],
    run: AceReasonRun, order: stages.Order, now: datetime,
) -> RunStatus:  # fmt: skip
    """The whole status, given its stages."""
    entries = [_fitting(statuses[stage.name]) for stage in run.spec.stages]
    found: dict[ConditionType, Holds] = {
        "Complete": _complete(entries),
        "Failed": _failed(entries, order, statuses),
        "Suspended": _suspended(entries, run),
        "Stalled": _stalled(entries, scenes),
    }
    old = {c.type: c for c in before.conditions}
    if unknown := _progress_unknown(entries, scenes, old.get("ProgressUnknown")):
        found["ProgressUnknown"] = True, "NotTold", unknown
    finished = found["Complete"][0] or found["Failed"][0]
    return RunStatus(
        observed_generation=run.metadata.generation,
        state=_state(found, entries),
        stage=", ".join(s.name for s in entries if s.attempt is not None),
        progress=_progress(entries),
        attempt=", ".join(str(s.attempt.number) for s in entries if s.attempt is not None),
        reward=_reward(entries),
        message=fitting(_message(found, entries)),
        conditions=[
            _condition(type_, holds, old.get(type_), run.metadata.generation, now)
            for type_, holds in found.items()
        ],
        stages=entries,
        started_at=before.started_at or rfc3339(now),
        finished_at=(before.finished_at or rfc3339(now)) if finished else None,
    )


def worth_writing(before: RunStatus, after: RunStatus) -> bool:
    """Whether a status differs from the written one in more than that a claimed Job was seen.

    That alone waits for the next write. What it guards against, a Job that is gone being made
    again, is harmless while nothing else was written since the claim: it is the same Job under the
    same name, and what an earlier one published under its key is found again.
    """
    return _all_seen(before) != _all_seen(after)


def tells_progress_alone(before: RunStatus, after: RunStatus) -> bool:
    """Whether a status worth writing differs from the written one in nothing that was decided: only
    in steps, metrics, and what shows them. Such a note may be late."""
    return worth_writing(before, after) and _without_progress(before) == _without_progress(after)


def refused(before: RunStatus, generation: int, reason: str, sentence: str, now: datetime) -> (
    RunStatus
):  # fmt: skip
    """The status of a run that nothing can be planned for until its spec is edited: it can't be
    read, or this cluster can't serve it. What its stages had reached stands."""
    old = {c.type: c for c in before.conditions}
    found: dict[ConditionType, Holds] = {
        "Complete": (False, reason, ""),
        "Failed": (True, reason, sentence),
        "Suspended": (False, "NotSuspended", ""),
        "Stalled": (False, "NotStalled", ""),
    }
    return before.model_copy(
        update={
            "observed_generation": generation,
            "state": "Failed",
            "message": fitting(sentence),
            "conditions": [
                _condition(type_, holds, old.get(type_), generation, now)
                for type_, holds in found.items()
            ],
            "started_at": before.started_at or rfc3339(now),
            "finished_at": before.finished_at or rfc3339(now),
        }
    )


def all_stopping(status: RunStatus, reason: StopReason) -> RunStatus:
    """The status in which every attempt in flight is to end, for a reason that nobody pays for."""
    return _with_claims(
        status, lambda claim: claim.model_copy(update={"stopping": claim.stopping or reason})
    )


def is_true(status: RunStatus, type_: ConditionType) -> bool:
    """Whether a condition holds."""
    return any(c.type == type_ and c.status == "True" for c in status.conditions)


def _all_seen(status: RunStatus) -> RunStatus:
    return _with_claims(status, lambda claim: claim.model_copy(update={"seen": True}))


def _with_claims(status: RunStatus, change: Callable[[AttemptClaim], AttemptClaim]) -> RunStatus:
    stages = [
        s.model_copy(update={"attempt": change(s.attempt)}) if s.attempt else s
        for s in status.stages
    ]
    return status.model_copy(update={"stages": stages})


def _without_progress(status: RunStatus) -> RunStatus:
    fresh = StageStatus(name="")
    nothing = {field: getattr(fresh, field) for field in _NOTES}
    stages = [s.model_copy(update=nothing) for s in _all_seen(status).stages]
    return status.model_copy(update={"stages": stages, "progress": "", "reward": ""})


def _fitting(entry: StageStatus) -> StageStatus:
    """The stage with the texts of others cut to what a status holds."""
    failure, record = entry.last_failure, entry.prepare
    if failure is not None:
        said = {"message": fitting(failure.message), "log_tail": fitting(failure.log_tail)}
        failure = failure.model_copy(update=said)
    if record is not None:
        record = record.model_copy(update={"message": fitting(record.message)})
    return entry.model_copy(
        update={"message": fitting(entry.message), "last_failure": failure, "prepare": record}
    )


def _complete(entries: list[StageStatus]) -> Holds:
    left = [s.name for s in entries if s.state not in stages.DONE]
    if not left:
        return True, "AllStagesDone", f"all {len(entries)} stages are done"
    return False, "StagesLeft", f"{len(left)} of {len(entries)} stages are left"


def _failed(
    entries: list[StageStatus], order: stages.Order, statuses: Mapping[str, StageStatus]
) -> Holds:
    failed = [s for s in entries if s.state == "Failed"]
    if not failed:
        return False, "NoStageFailed", ""
    message = "; ".join(s.message for s in failed)
    if stages.can_go_on(order, statuses):
        return False, "OtherStagesGoOn", f"other stages still go on. {message}"
    return True, "StageFailed", message


def _suspended(entries: list[StageStatus], run: AceReasonRun) -> Holds:
    held = [s.name for s in entries if s.state == "Suspended"]
    if any(s.attempt is not None for s in entries):
        return False, "Stopping" if run.spec.suspend else "StagesActive", ""
    if run.spec.suspend and held:
        return True, "SuspendedByUser", "spec.suspend is true; set it to false to go on"
    if held:
        return True, "StagesSuspended", f"held back: {', '.join(held)}"
    return False, "NotSuspended", ""


def _stalled(entries: list[StageStatus], scenes: Mapping[str, Scene]) -> Holds:
    for entry in entries:
        scene = scenes[entry.name]
        job = scene.job(entry.attempt.job) if entry.attempt else None
        found = progress.stalled(entry, job, scene)
        if found:
            return True, *found
    return False, "NotStalled", ""


def _progress_unknown(
    entries: list[StageStatus], scenes: Mapping[str, Scene], old: Condition | None
) -> str:
    """Which stages go on without telling how far they are; empty where none does. What an earlier
    operator found stands until this one has asked."""
    jobs = [
        (entry.name, scenes[entry.name].job(entry.attempt.job))
        for entry in entries
        if entry.state == "Running" and entry.attempt is not None
    ]
    told = [
        f"stage {name} goes on; its progress is not known ({job.progress_unknown})"
        for name, job in jobs
        if job and job.progress_unknown
    ]
    before = _OF_STAGES.split(old.message) if old else []
    unasked = tuple(
        f"stage {name} goes on;" for name, job in jobs if job and job.progress_unknown is None
    )
    return "; ".join([*told, *(part for part in before if part.startswith(unasked))])


def _condition(
    type_: ConditionType, holds: Holds, old: Condition | None, generation: int, now: datetime
) -> Condition:
    true, reason, message = holds
    status = "True" if true else "False"
    same = old is not None and old.status == status
    return Condition(
        type=type_,
        status="True" if true else "False",
        reason=reason,
        message=fitting(message),
        observed_generation=generation,
        last_transition_time=old.last_transition_time if old and same else rfc3339(now),
    )


def _state(found: Mapping[ConditionType, Holds], entries: list[StageStatus]) -> str:
    for type_ in ("Complete", "Failed", "Suspended", "Stalled"):
        if found[type_][0]:
            return type_
    if any(s.state == "Running" for s in entries):
        return "Running"
    return "BackingOff" if all(s.attempt is None for s in entries) and any(
        s.state == "BackingOff" for s in entries
    ) else "Pending"  # fmt: skip


def _progress(entries: list[StageStatus]) -> str:
    done = sum(s.state in stages.DONE for s in entries)
    steps = [
        f"{s.step}/{s.total_steps}" if s.total_steps else f"{s.step}"
        for s in entries
        if s.state == "Running"
    ]
    return f"{done}/{len(entries)}" + (f" ({', '.join(steps)})" if steps else "")


def _reward(entries: list[StageStatus]) -> str:
    rewards = [s.metrics["reward"] for s in entries if "reward" in s.metrics]
    return f"{rewards[-1]:.3f}" if rewards else ""


def _message(found: Mapping[ConditionType, Holds], entries: list[StageStatus]) -> str:
    """Why the run does not go on, else why a stage in work does not."""
    for type_ in _TROUBLES:
        holds, _, message = found[type_]
        if holds:
            return message
    at_work = [s for s in entries if s.attempt is not None or s.state == "BackingOff"]
    told = next((s for s in at_work if s.message), None)
    if told is None:
        return ""
    about = f"stage {told.name}"
    return told.message if told.message.startswith(about) else f"{about}: {told.message}"
