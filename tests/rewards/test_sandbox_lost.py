"""A sandbox that is lost says nothing about the program: it runs again, then the sample is masked.

The memory killer of a busy machine picks whom it likes.
"""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from acereason_trainer.config.common import Verifier
from acereason_trainer.processes import stat_words
from acereason_trainer.rewards import Rewarder, Verdict, make_rewarder

from tests.rewards.waiting_programs import LIMITS, WAITS, tell, waits
from tests.verifier.services import children_of
from tests.waiting import wait_for

ROW = {"tests": [{"stdin": "", "stdout": "1"}]}
WAITING = f"</think>\n```python\n{WAITS}print(1)\n```"


@pytest.fixture
def rewarder() -> Iterator[Rewarder]:
    made = make_rewarder("code", Verifier(workers=1, code=LIMITS, service="local"))
    made.submit(ROW, "</think>\n```python\nprint(1)\n```").result(60)
    yield made
    made.close()


def sandbox(other_than: int = 0) -> int:
    """The process that forks the programs, once there is one other than the given."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            pid = int(entry.parent.name)
            try:
                is_zygote = b"zygote.py\0" in entry.read_bytes()
                ours = is_zygote and _parent(_parent(_parent(pid))) == os.getpid()
            except OSError:
                continue  # it ended while it was being looked at
            if ours and pid != other_than:
                return pid
        time.sleep(0.01)
    raise AssertionError("no sandbox was started")


def _parent(pid: int) -> int:
    return int(stat_words(pid)[1])


def test_a_program_whose_sandbox_is_lost_runs_again(rewarder: Rewarder) -> None:
    first = sandbox()
    future = rewarder.submit(ROW, WAITING)
    program(first)
    os.kill(first, signal.SIGKILL)
    second = sandbox(other_than=first)
    tell(program(second))
    grade = future.result(120)
    assert (grade.verdict, grade.reward) == (Verdict.CORRECT, 1)
    assert sandbox() == second


def program(of: int) -> int:
    """The program that a sandbox runs, once it waits."""

    def found() -> list[int]:
        return [pid for pid in children_of(of) if waits(pid)]

    wait_for(lambda: len(found()) == 1, "a program to wait")
    return found()[0]


def test_a_program_that_the_machine_kills_runs_again(rewarder: Rewarder) -> None:
    first = sandbox()
    future = rewarder.submit(ROW, WAITING)
    os.kill(program(first), signal.SIGKILL)
    tell(program(sandbox(other_than=first)))
    grade = future.result(120)
    assert (grade.verdict, grade.reward) == (Verdict.CORRECT, 1)


def test_a_program_that_the_machine_kills_twice_is_masked(rewarder: Rewarder) -> None:
    first = sandbox()
    future = rewarder.submit(ROW, WAITING)
    os.kill(program(first), signal.SIGKILL)
    os.kill(program(sandbox(other_than=first)), signal.SIGKILL)
    grade = future.result(120)
    assert (grade.verdict, grade.reward) == (Verdict.INFRA_ERROR, None)
    assert "the machine killed the program" in grade.detail


def test_a_program_that_loses_two_sandboxes_is_masked_and_the_next_one_is_checked(
    rewarder: Rewarder,
) -> None:
    first = sandbox()
    future = rewarder.submit(ROW, WAITING)
    program(first)
    os.kill(first, signal.SIGKILL)
    second = sandbox(other_than=first)
    program(second)
    os.kill(second, signal.SIGKILL)
    grade = future.result(120)
    assert (grade.verdict, grade.reward) == (Verdict.INFRA_ERROR, None)
    again = rewarder.submit(ROW, WAITING)
    tell(program(sandbox(other_than=second)))
    assert again.result(120).verdict is Verdict.CORRECT
