"""A sandbox that is lost says nothing about the program: it runs again, then the sample is masked.

The memory killer of a busy machine picks whom it likes.
"""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from acereason_trainer.config.common import CodeLimits, Verifier
from acereason_trainer.rewards import Rewarder, Verdict, make_rewarder

ROW = {"tests": [{"stdin": "", "stdout": "1"}]}
SLOW = "</think>\n```python\nimport time\ntime.sleep(1.5)\nprint(1)\n```"


@pytest.fixture
def rewarder() -> Iterator[Rewarder]:
    limits = CodeLimits(seconds_per_test=3, memory_mib=256)
    made = make_rewarder("code", Verifier(workers=1, code=limits, service="local"))
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
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_program_whose_sandbox_is_lost_runs_again(rewarder: Rewarder) -> None:
    first = sandbox()
    future = rewarder.submit(ROW, SLOW)
    os.kill(first, signal.SIGKILL)
    grade = future.result(120)
    assert (grade.verdict, grade.reward) == (Verdict.CORRECT, 1)
    assert sandbox() != first


def program(of: int) -> int:
    """The program that a sandbox runs, once it sleeps."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        children = Path(f"/proc/{of}/task/{of}/children").read_text().split()
        for pid in map(int, children):
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if int(stat[3]) == pid and stat[0] == "S":
                return pid
        time.sleep(0.01)
    raise AssertionError("no program was started")


def test_a_program_that_the_machine_kills_runs_again(rewarder: Rewarder) -> None:
    first = sandbox()
    future = rewarder.submit(ROW, SLOW)
    os.kill(program(first), signal.SIGKILL)
    grade = future.result(120)
    assert (grade.verdict, grade.reward) == (Verdict.CORRECT, 1)


def test_a_program_that_the_machine_kills_twice_is_masked(rewarder: Rewarder) -> None:
    first = sandbox()
    future = rewarder.submit(ROW, SLOW)
    os.kill(program(first), signal.SIGKILL)
    os.kill(program(sandbox(other_than=first)), signal.SIGKILL)
    grade = future.result(120)
    assert (grade.verdict, grade.reward) == (Verdict.INFRA_ERROR, None)
    assert "the machine killed the program" in grade.detail


def test_a_program_that_loses_two_sandboxes_is_masked_and_the_next_one_is_checked(
    rewarder: Rewarder,
) -> None:
    first = sandbox()
    future = rewarder.submit(ROW, SLOW)
    os.kill(first, signal.SIGKILL)
    os.kill(sandbox(other_than=first), signal.SIGKILL)
    grade = future.result(120)
    assert (grade.verdict, grade.reward) == (Verdict.INFRA_ERROR, None)
    assert rewarder.submit(ROW, SLOW).result(120).verdict is Verdict.CORRECT
