"""Which differences of a status are worth a write of their own."""

from typing import Any

import pytest
from acereason_operator.planner.status import tells_progress_alone, worth_writing
from planner_builders import Desk, a_run


def claimed() -> Desk:
    """A desk with a claim that is written and whose Job was not seen yet."""
    desk = Desk(a_run())
    desk.status = desk.plan().status
    return desk


def test_that_a_claimed_job_was_seen_waits_for_the_next_write() -> None:
    desk = claimed()
    for action in desk.plan().actions:
        desk.carry_out(action)
    after = desk.plan().status
    assert after != desk.status
    assert not worth_writing(desk.status, after)


@pytest.mark.parametrize(
    "change", [{"state": "Running"}, {"message": "waits"}, {"step": 3}, {"attempts": 2}]
)
def test_everything_else_is_worth_one(change: dict[str, Any]) -> None:
    before = claimed().status
    first = before.stages[0].model_copy(update=change)
    after = before.model_copy(update={"stages": [first, *before.stages[1:]]})
    assert worth_writing(before, after)
    assert not worth_writing(before, before)


def test_the_pod_of_a_prepare_that_runs_is_not_worth_one() -> None:
    desk = claimed()
    desk.rounds()
    before = desk.status
    assert desk.stage("prompts").state == "Preparing"
    assert not worth_writing(before, desk.plan().status)
    assert desk.stage("prompts").attempt.started_at is None


PROGRESS = {"step": 3, "total_steps": 9, "step_seen_at": "2026-01-31T12:00:00Z"}


@pytest.mark.parametrize(
    ("of_stage", "of_run", "alone"),
    [
        (PROGRESS, {"progress": "0/4 (3/9)"}, True),
        ({"metrics": {"reward": 0.5}}, {"reward": "0.500"}, True),
        (PROGRESS | {"state": "Running"}, {}, False),
        (PROGRESS | {"message": "waits"}, {}, False),
        (PROGRESS | {"retry_at": "2026-01-31T12:00:00Z"}, {}, False),
        (PROGRESS, {"state": "Stalled"}, False),
        (PROGRESS, {"message": "look at its log"}, False),
        (PROGRESS, {"observed_generation": 7}, False),
        (PROGRESS, {"conditions": []}, False),
        ({}, {}, False),
    ],
)
def test_only_steps_and_metrics_may_be_noted_late(
    of_stage: dict[str, Any], of_run: dict[str, Any], alone: bool
) -> None:
    before = claimed().status
    first = before.stages[0].model_copy(update=of_stage)
    after = before.model_copy(update={"stages": [first, *before.stages[1:]], **of_run})
    assert tells_progress_alone(before, after) == alone
