"""Which differences of a status are worth a write of their own."""

from typing import Any

import pytest
from acereason_operator.planner.status import worth_writing
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
