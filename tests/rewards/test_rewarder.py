"""What every rewarder promises: once for each answer, killable, masked where it is not to blame."""

import importlib
import os
import queue
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path

import pytest
from acereason_trainer.config.common import CodeLimits, Verifier
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.rl import CustomReward
from acereason_trainer.rewards import Grade, Rewarder, Verdict, make_rewarder, nursery, pool
from acereason_trainer.rewards.jobs import Job, MathJob, Setup
from acereason_trainer.rewards.pool import blame
from acereason_trainer.rewards.rewarder import _Pooled
from acereason_trainer.stage import StageFailure

from tests.verifier.services import children_of
from tests.waiting import is_alive, wait_for

FAST = Verifier(workers=1, code=CodeLimits(seconds_per_test=1, memory_mib=256))


@contextmanager
def a_rewarder(*args: object, **kwargs: object) -> Iterator[Rewarder]:
    rewarder = make_rewarder(*args, **kwargs)  # type: ignore[arg-type]
    try:
        yield rewarder
    finally:
        rewarder.close()


def boxed(answer: str, words: str = "") -> str:
    return rf"{words}</think> \boxed{{{answer}}}"


def test_a_response_without_an_answer_is_wrong_by_format() -> None:
    with a_rewarder("math", FAST) as math, a_rewarder("code", FAST) as code:
        for rewarder, row in (
            (math, {"answer": "1"}),
            (code, {"tests": [{"stdin": "", "stdout": ""}]}),
        ):
            grade = rewarder.submit(row, "I do not know").result()
            assert (grade.verdict, grade.reward) == (Verdict.FORMAT, 0.0)


def test_the_same_answer_in_other_words_is_checked_once() -> None:
    with a_rewarder("math", FAST) as rewarder:
        row = {"answer": r"\sqrt{8}"}
        first = rewarder.submit(row, boxed(r"2\sqrt 2", "one way"))
        assert rewarder.submit(row, boxed(r"2\sqrt 2", "another")) is first
        assert rewarder.submit({"answer": r"\sqrt{18}"}, boxed(r"2\sqrt 2")) is not first
        assert first.result(60).verdict == Verdict.CORRECT


def test_the_same_program_is_checked_once_for_the_same_tests_and_again_for_others() -> None:
    one = {"tests": [{"input": "", "output": "1"}]}
    same = {"tests": [{"input": "", "output": "1", "note": "not for the checker"}]}
    other = {"tests": [{"input": "", "output": "2"}]}
    called = {"tests": [{"input": "[]", "output": "1"}], "starter": "def f():"}
    with a_rewarder("code", FAST) as rewarder:
        first = rewarder.submit(one, program("print(1)"))
        assert rewarder.submit(same, program("print(1)")) is first
        verdicts = [
            rewarder.submit(row, program("print(1)")).result(60).verdict
            for row in (one, other, called)
        ]
    assert verdicts == [Verdict.CORRECT, Verdict.WRONG, Verdict.RUNTIME_ERROR]


def test_responses_may_come_from_many_threads() -> None:
    with a_rewarder("math", Verifier(workers=2)) as rewarder:
        found: list[Verdict] = []

        def ask(n: int) -> None:
            answer = rf"\sqrt{{{n * n * 2}}}"
            row = {"answer": rf"{n}\sqrt{{2}}"}
            found.append(rewarder.submit(row, boxed(answer)).result(120).verdict)

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(2, 14)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [Verdict.CORRECT] * 12


class NothingWorks:
    """In the place of a pool: a thread gives every job an infrastructure error at once, and its end
    is waited for in `close`."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Future[Grade] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._fail)

    def open(self) -> None:
        self._thread.start()

    def submit(self, job: Job) -> "Future[Grade]":
        future: Future[Grade] = Future()
        self._waiting.put(future)
        return future

    def close(self) -> None:
        self._waiting.put(None)
        self._thread.join()

    def _fail(self) -> None:
        while future := self._waiting.get():
            future.set_result(Grade(Verdict.INFRA_ERROR, None))


def test_what_fails_while_the_same_is_asked_again_is_forgotten_without_harm() -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with closing(_Pooled(lambda *_: MathJob("1", "2"), NothingWorks())) as rewarder:  # type: ignore[arg-type]
            for _ in range(5000):
                last = rewarder.submit({}, "")
        # What was handed over last has failed while the pool was being closed.
        assert last.result(0).verdict is Verdict.INFRA_ERROR
    finally:
        sys.setswitchinterval(before)


def test_an_answer_that_takes_too_long_is_killed_and_the_next_one_checked() -> None:
    quick = Verifier(workers=1, math_seconds=0.02)
    with a_rewarder("math", quick) as rewarder:
        # Sympy needs several times that for a formula of this size, and a tenth for a short one.
        row = {"answer": r"\sum_{k=1}^{n} k"}
        formula = "+".join(rf"\frac{{k}}{{{n}}}" for n in range(2, 30))
        slow = rewarder.submit(row, boxed(rf"\sum_{{k=1}}^{{n}} ({formula})")).result(120)
        assert (slow.verdict, slow.reward) == (Verdict.TIMEOUT, 0.0)
        assert "0.02 s of CPU time" in slow.detail
        after = rewarder.submit({"answer": "x+1"}, boxed("x+y")).result(120)
        assert after.verdict == Verdict.WRONG


def children_named(word: str) -> list[int]:
    found = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "pid=,args="],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [int(line.split()[0]) for line in found.splitlines() if word in line]


def test_a_worker_that_is_killed_costs_a_retry_and_no_verdict() -> None:
    with a_rewarder("code", FAST) as rewarder:
        row = {"tests": [{"input": "", "output": "1"}]}
        slow = "import time\ntime.sleep(0.5)\nprint(1)"
        assert rewarder.submit(row, program("print(1)")).result(60).reward == 1
        future = rewarder.submit(row, program(slow))
        (worker,) = children_named("rewards.worker")
        os.kill(worker, signal.SIGKILL)
        assert future.result(60).verdict == Verdict.CORRECT


def test_a_math_worker_begins_anew_after_many_answers_and_loses_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "_MATH_ANSWERS", 3)
    lives = set()
    with a_rewarder("math", FAST) as rewarder:
        for n in range(2, 9):
            root = boxed(rf"\sqrt{{{3 * n * n}}}")
            grade = rewarder.submit({"answer": rf"{n}\sqrt{{3}}"}, root).result(60)
            assert grade.verdict == Verdict.CORRECT
            (nursery,) = children_named("rewards.worker")
            lives |= set(children_of(nursery))
    assert len(lives) == 3


def test_a_worker_that_reads_nothing_is_not_written_to_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nursery, "_SEND_SECONDS", 1)
    made = nursery.Nursery(Setup("code", FAST))
    try:
        life = made.begin()
        try:
            os.kill(life.pid, signal.SIGSTOP)
            with pytest.raises(OSError, match="temporarily unavailable"):
                life.connection.send(b"x" * (16 << 20))
        finally:
            life.connection.close()
            with suppress(ProcessLookupError):
                os.kill(life.pid, signal.SIGKILL)  # it may not have asked to die with its nursery
    finally:
        made.close()


@contextmanager
def no_interpreter() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", "/no/such/interpreter")
        yield


@contextmanager
def no_descriptors_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("trouble", [no_interpreter, no_descriptors_left])
def test_a_worker_that_cannot_be_started_masks_the_sample_until_it_can(
    trouble: Callable[[], AbstractContextManager[None]],
) -> None:
    with a_rewarder("code", FAST) as rewarder:
        row = {"tests": [{"input": "", "output": "1"}]}
        assert rewarder.submit(row, program("print(1)")).result(60).reward == 1
        (worker,) = children_named("rewards.worker")
        both = [worker, *children_of(worker)]
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: not any(map(is_alive, both)), "the end of what checks")
        with trouble():
            grade = rewarder.submit(row, program("print(1) ")).result(60)
        assert (grade.verdict, grade.reward) == (Verdict.INFRA_ERROR, None)
        assert "cannot be started" in grade.detail
        assert rewarder.submit(row, program("print(1) ")).result(60).reward == 1


@pytest.mark.parametrize("trouble", [no_interpreter, no_descriptors_left])
def test_a_first_worker_that_cannot_be_started_is_tried_again_by_the_next_attempt(
    trouble: Callable[[], AbstractContextManager[None]],
) -> None:
    row = {"tests": [{"input": "", "output": "1"}]}
    with a_rewarder("code", FAST) as rewarder, trouble(), pytest.raises(StageFailure) as e:
        rewarder.submit(row, program("print(1)"))
    assert e.value.code == ExitCode.TEMPORARY
    assert "no verifier could be started" in str(e.value)


def test_whatever_goes_wrong_beside_a_worker_is_raised_where_its_verdict_is_waited_for(
    own_module: str,
) -> None:
    with a_rewarder("math", FAST, custom=CustomReward(function=f"{own_module}:half")) as rewarder:
        with pytest.raises(TypeError, match="pickle"):
            rewarder.submit({"hint": "b", "lock": threading.Lock()}, "abc").result(60)
        assert rewarder.submit({"hint": "b"}, "abc").result(60).reward == 0.5


def test_closing_ends_every_process() -> None:
    with a_rewarder("code", Verifier(workers=2)) as rewarder:
        row = {"tests": [{"input": "", "output": "1"}]}
        rewarder.submit(row, program("print(1)")).result(60)
        pending = rewarder.submit(row, program("import time\ntime.sleep(60)"))
        assert children_named("rewards.worker")
    assert not children_named("rewards.worker")
    assert pending.result(60).verdict == Verdict.INFRA_ERROR


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (-signal.SIGSEGV, Verdict.RUNTIME_ERROR),
        (-signal.SIGKILL, Verdict.INFRA_ERROR),
        (1, Verdict.INFRA_ERROR),
        (None, Verdict.INFRA_ERROR),
    ],
)
def test_only_a_death_of_its_own_making_is_held_against_an_answer(
    code: int | None, verdict: Verdict
) -> None:
    assert blame(code) is verdict


@pytest.mark.parametrize(("domain", "column"), [("math", "answer"), ("code", "tests")])
def test_a_row_that_cannot_be_checked_is_named(domain: str, column: str) -> None:
    with a_rewarder(domain, FAST) as rewarder, pytest.raises(StageFailure, match=column) as e:
        rewarder.submit({"id": "p7"}, boxed("1") + "\n```python\n1\n```")
    assert "row p7" in str(e.value)


@pytest.mark.parametrize("answer", [float("nan"), float("inf")])
def test_an_answer_that_is_no_number_is_a_bad_row(answer: float) -> None:
    with a_rewarder("math", FAST) as rewarder, pytest.raises(StageFailure) as e:
        rewarder.submit({"id": "r1", "answer": answer}, boxed("1"))
    assert str(e.value.message) == (
        f'"answer" of row r1 is {answer}; it must be text or a finite number'
    )


CUSTOM = """
def half(row, response):
    return 0.5 if row["hint"] in response else 1.0

def broken(row, response):
    return row["missing"]

def out_of_range(row, response):
    return 2

not_a_function = 3
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_reward_module.py").write_text(CUSTOM)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    return "own_reward_module"


def test_a_reward_of_the_users_own_runs_in_a_worker(own_module: str) -> None:
    with a_rewarder("math", FAST, custom=CustomReward(function=f"{own_module}:half")) as rewarder:
        assert rewarder.submit({"hint": "b"}, "abc").result(60).reward == 0.5
        assert rewarder.submit({"hint": "x"}, "abc").result(60).verdict == Verdict.CORRECT
    assert own_module not in sys.modules


@pytest.mark.parametrize(
    ("function", "sentence"),
    [("broken", "raised KeyError: 'missing'"), ("out_of_range", "returned 2.0; it must be 0 to 1")],
)
def test_a_reward_that_fails_ends_the_stage_with_a_sentence(
    own_module: str, function: str, sentence: str
) -> None:
    custom = CustomReward(function=f"{own_module}:{function}")
    with a_rewarder("math", FAST, custom=custom) as rewarder:
        with pytest.raises(StageFailure, match=sentence) as e:
            rewarder.submit({}, "abc").result(60)
        assert e.value.code == ExitCode.BAD_CONFIGURATION


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("no_such_package.rewards:f", "No module named 'no_such_package'"),
        ("own_reward_module:no_such", "no_such"),
        ("own_reward_module:not_a_function", "not a func"),
    ],
)
def test_a_reward_that_cannot_be_imported_is_refused_at_the_start(
    own_module: str, path: str, sentence: str
) -> None:
    with pytest.raises(StageFailure, match=sentence) as e:
        make_rewarder("math", FAST, custom=CustomReward(function=path))
    assert e.value.code == ExitCode.BAD_CONFIGURATION
    assert path in str(e.value)


def program(source: str) -> str:
    return f"</think>\n```python\n{source}\n```"
