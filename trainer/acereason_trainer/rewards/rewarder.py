"""The three rewards behind the Rewarder protocol: math, code, custom.

Each turns (row, response) into a job, or into a grade where no job is needed; `_Pooled` sees to it
that the same job is done once, however many responses of a group agree.
"""

import hashlib
import json
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from acereason_trainer.config.common import Verifier
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.rl import CustomReward
from acereason_trainer.rewards.exact import Undecided, exactly_same
from acereason_trainer.rewards.extract import boxed_answer, toolkit_answer, with_all_as_answer
from acereason_trainer.rewards.jobs import (
    CodeJob,
    CustomJob,
    Job,
    MathGrader,
    MathJob,
    Setup,
    in_brief,
)
from acereason_trainer.rewards.math import is_same_answer
from acereason_trainer.rewards.normal_form import MAX_CHARACTERS
from acereason_trainer.rewards.outputs import Comparator
from acereason_trainer.rewards.placement import pool_for
from acereason_trainer.rewards.plain_json import is_text
from acereason_trainer.rewards.problem_limits import read_limits
from acereason_trainer.rewards.problem_tests import Packer
from acereason_trainer.rewards.program import entry_point, python_program
from acereason_trainer.rewards.protocol import Grade, Rewarder, Verdict
from acereason_trainer.stage import StageFailure

if TYPE_CHECKING:
    from acereason_trainer.rewards.pool import WorkerPool
    from acereason_trainer.rewards.remote import RemotePool

_REMEMBERED = 65_536


def make_rewarder(
    domain: Literal["math", "code"],
    verifier: Verifier,
    custom: CustomReward | None = None,
    *,
    all_tests: bool = False,
    math_grader: MathGrader = "training",
    comparator: Comparator = "exact",
    require_think: bool = True,
) -> Rewarder:
    """The checker of a domain's answers, or of a custom reward where one is given.

    `all_tests`: go on after a program's first failure and fill `Grade.passed`. `math_grader`,
    `comparator`: how answers and outputs of programs are compared; training has no choice.
    `require_think`: a response without `</think>` has no answer, because its reasoning never ended;
    else all of it is the answer. Worker processes start when they are first needed. Raises
    StageFailure for a custom reward that cannot be imported; one that raises or leaves [0, 1] makes
    the grade's future raise StageFailure.
    """
    if custom is not None:
        setup = Setup("custom", verifier, function=custom.function)
        rewarder = _Pooled(_custom_job, pool_for(setup))
        rewarder.open()
        return rewarder
    if domain == "math":
        make_job: MakeJob = _math_job if math_grader == "training" else _toolkit_job
        setup = Setup("math", verifier, math_grader=math_grader)
    else:
        make_job = partial(_code_job, Packer())
        setup = Setup("code", verifier, all_tests=all_tests, comparator=comparator)
    if not require_think:
        make_job = partial(_of_all, make_job)
    return _Pooled(make_job, pool_for(setup))


MakeJob = Callable[[Mapping[str, Any], str], Job | Grade]


class _Pooled:
    """A Rewarder: same job, same future."""

    def __init__(self, make_job: MakeJob, pool: "WorkerPool | RemotePool") -> None:
        self._make_job = make_job
        self._pool = pool
        self._lock = threading.Lock()
        """Held while a job is handed over and while the pool is closed."""
        self._open = False
        self._known = _Known()

    def open(self) -> None:
        """Start the pool now instead of at the first job."""
        self._pool.open()
        self._open = True

    def submit(self, row: Mapping[str, Any], response: str) -> "Future[Grade]":
        job = self._make_job(row, response)
        if isinstance(job, Grade):
            done: Future[Grade] = Future()
            done.set_result(job)
            return done
        key = _digest(job)
        with self._lock:
            if (known := self._known.get(key)) is not None:
                return known
            if not self._open:
                self.open()
            future = self._pool.submit(job)
            self._known.put(key, future)
        future.add_done_callback(partial(self._forget_failure, key))
        return future

    def close(self) -> None:
        with self._lock:
            if self._open:
                self._pool.close()
                self._open = False

    def _forget_failure(self, key: bytes, future: "Future[Grade]") -> None:
        """What failed for the checker's reasons is tried anew when it is asked for again."""
        if future.exception() or future.result().verdict is Verdict.INFRA_ERROR:
            self._known.drop(key, future)


class _Known:
    """Jobs that were handed over lately, and what becomes of them. Thread-safe.

    Its lock is held only within: the pool's threads drop what failed while the rewarder, with its
    own lock, waits for their end.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._futures: OrderedDict[bytes, Future[Grade]] = OrderedDict()

    def get(self, key: bytes) -> "Future[Grade] | None":
        with self._lock:
            if key in self._futures:
                self._futures.move_to_end(key)
            return self._futures.get(key)

    def put(self, key: bytes, future: "Future[Grade]") -> None:
        with self._lock:
            self._futures[key] = future
            if len(self._futures) > _REMEMBERED:
                self._futures.popitem(last=False)

    def drop(self, key: bytes, future: "Future[Grade]") -> None:
        """Forget this one; another that has its place by now stays."""
        with self._lock:
            if self._futures.get(key) is future:
                del self._futures[key]


def _math_job(row: Mapping[str, Any], response: str) -> Job | Grade:
    answer = boxed_answer(response)
    if answer is None or not answer:
        return Grade(Verdict.FORMAT, 0.0)
    if len(answer) > MAX_CHARACTERS:
        return Grade(Verdict.WRONG, 0.0, detail=answer[:200])
    reference = _reference(row)
    try:
        same = is_same_answer(answer, reference, exactly_same)
    except Undecided:
        if not is_text(answer):
            return Grade(Verdict.WRONG, 0.0, detail=answer)
        return MathJob(answer, reference)
    return Grade(Verdict.CORRECT if same else Verdict.WRONG, float(same), detail=answer)


def _toolkit_job(row: Mapping[str, Any], response: str) -> Job | Grade:
    answer = toolkit_answer(response)
    if answer is None:
        return Grade(Verdict.FORMAT, 0.0)
    if len(answer) > MAX_CHARACTERS or not is_text(answer):
        return Grade(Verdict.WRONG, 0.0, detail=answer[:200])
    return MathJob(answer, _reference(row))


def _code_job(packer: Packer, row: Mapping[str, Any], response: str) -> Job | Grade:
    starter = row.get("starter") or None
    try:
        entry = None if starter is None else entry_point(starter)
        tests = packer.packed(_column(row, "tests", "code"), entry)
        limits = read_limits(row)
    except ValueError as e:  # BadTests, BadLimits, or a starter without a function
        raise _bad_row(f"{_name(row)}: {e}") from e
    program = python_program(response, starter, tests.calls)
    if program is None:
        return Grade(Verdict.FORMAT, 0.0)
    if not is_text(program.source):
        # No interpreter reads it, and no request can carry it.
        return Grade(Verdict.RUNTIME_ERROR, 0.0, detail="the program is no text: half a surrogate")
    before = tuple(block for block in program.before if is_text(block))
    return CodeJob(program.source, tests.digest, tests.content, limits, before)


def _of_all(make_job: MakeJob, row: Mapping[str, Any], response: str) -> Job | Grade:
    return make_job(row, with_all_as_answer(response))


def _custom_job(row: Mapping[str, Any], response: str) -> Job | Grade:
    return CustomJob(dict(row), response)


def _reference(row: Mapping[str, Any]) -> str:
    answer = _column(row, "answer", "math")
    if isinstance(answer, float) and not math.isfinite(answer):
        raise _bad_row(f'"answer" of {_name(row)} is {answer}; it must be text or a finite number')
    reference = str(answer)
    if not reference.strip() or not is_text(reference):
        raise _bad_row(f'"answer" of {_name(row)} is {reference[:40]!r}; it must be a right answer')
    return reference


def _column(row: Mapping[str, Any], column: str, domain: str) -> Any:
    if row.get(column) in (None, "", []):
        raise _bad_row(
            f'{_name(row)} has no "{column}"; the {domain} reward checks against it '
            "(a curate stage can drop such rows)"
        )
    return row[column]


def _bad_row(sentence: str) -> StageFailure:
    return StageFailure(ExitCode.BAD_CONFIGURATION, "BadData", sentence)


def _name(row: Mapping[str, Any]) -> str:
    return f"row {row.get('id', '')!s}" if row.get("id") else "a row"


def _digest(job: Job) -> bytes:
    """Name of a job by its content: problem and answer, not the words around the answer."""
    text = json.dumps(vars(in_brief(job)), sort_keys=True, default=str, ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
