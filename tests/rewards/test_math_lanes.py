"""The two lanes of math: plain numbers at once, the rest in processes that cannot take over; the
toolkit grader, which only evaluations may choose."""

import math
import os
import resource
import signal
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import closing
from pathlib import Path

import pytest
from acereason_trainer.config.common import Verifier
from acereason_trainer.config.evaluate import Evaluate
from acereason_trainer.config.rl import MathRL
from acereason_trainer.rewards import Rewarder, Verdict, make_rewarder

LOCAL = Verifier(service="local", workers=1, math_seconds=1.0)


@pytest.fixture(scope="module")
def training() -> Iterator[Rewarder]:
    with closing(make_rewarder("math", LOCAL)) as rewarder:
        yield rewarder


def boxed(answer: str) -> str:
    return rf"</think> \boxed{{{answer}}}"


def nurseries() -> list[int]:
    """Processes that fork the checking ones."""
    return [pid for pid in children(os.getpid()) if "rewards.worker" in arguments(pid)]


def children(parent: int) -> list[int]:
    threads = Path(f"/proc/{parent}/task").iterdir()
    return [int(pid) for t in threads for pid in (t / "children").read_text().split()]


def arguments(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def the_checker() -> int:
    (nursery,) = nurseries()
    (checker,) = children(nursery)
    return checker


def test_the_symbolic_lane_has_bounded_memory_and_stands_back_behind_the_trainer(
    training: Rewarder,
) -> None:
    training.submit({"answer": r"\sqrt{8}"}, boxed(r"2\sqrt2")).result(120)
    checker = the_checker()
    assert resource.prlimit(checker, resource.RLIMIT_AS) == (1 << 30, 1 << 30)
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, checker) == min(ours + 5, 19)


def test_a_nursery_has_one_thread_so_that_no_lock_is_held_at_a_fork(training: Rewarder) -> None:
    training.submit({"answer": r"\sqrt{8}"}, boxed(r"2\sqrt2")).result(120)
    (nursery,) = nurseries()
    assert len(list(Path(f"/proc/{nursery}/task").iterdir())) == 1


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSEGV])
def test_a_checker_that_dies_is_forked_anew_from_the_same_nursery(
    training: Rewarder, sign: signal.Signals
) -> None:
    row = {"answer": r"\sqrt{8}"}
    training.submit(row, boxed(r"2\sqrt2")).result(120)
    nursery, first = nurseries(), the_checker()
    os.kill(first, sign)
    assert training.submit(row, boxed(rf"{sign}+2\sqrt2")).result(120).verdict is Verdict.WRONG
    assert nurseries() == nursery
    assert the_checker() != first


def test_a_checker_that_hangs_without_using_its_time_is_replaced_near_its_deadline(
    training: Rewarder, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"answer": r"\sqrt{8}"}
    training.submit(row, boxed(r"2\sqrt2")).result(120)
    # Not by the limit on the wall, which is for machines that give it no processor.
    monkeypatch.setattr(training._pool._workers[0], "_seconds", math.inf)
    before = training._pool.workers_lost
    os.kill(the_checker(), signal.SIGSTOP)
    assert training.submit(row, boxed(r"\sqrt{4}\sqrt{2}")).result(120).verdict is Verdict.CORRECT
    assert training._pool.workers_lost == before + 1


def test_a_plain_number_is_graded_while_every_worker_is_busy(training: Rewarder) -> None:
    row = {"answer": r"\sqrt{8}"}
    slow = [training.submit(row, boxed(rf"\sqrt{{{n}}}+1")) for n in range(100)]
    for n in range(200):
        plain = training.submit({"answer": "42"}, boxed(f"{n}"))
        assert plain.done()
        assert plain.result().verdict is (Verdict.CORRECT if n == 42 else Verdict.WRONG)
    wait(slow, 120)
    assert {future.result().verdict for future in slow} == {Verdict.WRONG}


TOOLKIT = [
    (boxed("0.5"), "50", "correct", "a hundredth"),
    (boxed("50"), "0.5", "correct", "a hundredfold"),
    (boxed("0.33333"), r"\frac{1}{3}", "correct", "within 1e-4"),
    (boxed("0.333"), r"\frac{1}{3}", "wrong", "beyond it"),
    (boxed("2.718"), "2.7", "correct", "rounds to the reference"),
    (boxed("(x+1)^2"), "x^2+2x+1", "correct", "the same expression"),
    (boxed("7"), "5", "wrong", "another number"),
    ("</think> The answer is **42**.", "42", "correct", "bold text where no box is"),
    (r"</think> so it is \(42\)", "42", "correct", "a formula after `is`"),
    ("</think> It is 42.", "42", "format", "nothing to take"),
    (boxed("__import__('os').abort()"), "5", "wrong", "nothing that a model writes is run"),
]


def test_the_toolkit_grader_is_as_loose_as_the_published_one() -> None:
    with closing(make_rewarder("math", LOCAL, math_grader="toolkit")) as toolkit:
        futures = [toolkit.submit({"answer": answer}, text) for text, answer, _, _ in TOOLKIT]
        for future, (_, _, verdict, why) in zip(futures, TOOLKIT, strict=True):
            assert future.result(120).verdict == verdict, why


def test_training_cannot_choose_the_toolkit_grader() -> None:
    assert "math_grader" in Evaluate.model_fields
    assert not any("grader" in name for name in {*MathRL.model_fields, *Verifier.model_fields})


@pytest.mark.parametrize("response", [boxed("0.5"), "</think> **50**"])
def test_what_the_toolkit_takes_is_no_reward(training: Rewarder, response: str) -> None:
    assert training.submit({"answer": "50"}, response).result(60).reward == 0.0
