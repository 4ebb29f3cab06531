"""A process that checks answers, one at a time, for as long as its trainer lives.

Started by pool.py as `python -m acereason_trainer.rewards.worker FD PARENT`. The first message from
the trainer says what kind of answers there will be (`Setup`); the answer to it is `Ready` or
`Refused`. Then each job is answered by a Grade, or by the reason why there is none (jobs.py). The
trainer kills the process when a job takes too long, so nothing here watches the clock.
"""

import importlib
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from acereason_trainer.processes import die_with_parent
from acereason_trainer.rewards import walls
from acereason_trainer.rewards.code import Grading, grade_program
from acereason_trainer.rewards.jobs import (
    CodeJob,
    CustomJob,
    MathJob,
    Ready,
    Refused,
    Reply,
    RewardRaised,
    Setup,
    WantsTests,
)
from acereason_trainer.rewards.math import is_same_answer
from acereason_trainer.rewards.problem_tests import UNPACKED_BYTES, RecentlyUsed, Tests, unpacked
from acereason_trainer.rewards.program import Program
from acereason_trainer.rewards.protocol import Grade, Verdict
from acereason_trainer.rewards.sandbox import Sandbox, SandboxLost

_MATH_MEMORY = 1 << 30
"""Bytes of address space; Python with sympy takes a third of it."""
_MATH_NICENESS = 5
"""Expressions that need algebra stand back behind the trainer's own thread, which compares plain
numbers. Their deadline is CPU time, so this changes no verdict."""


def main() -> None:
    """Serve until the trainer closes the connection or dies."""
    connection, parent = Connection(int(sys.argv[1])), int(sys.argv[2])
    die_with_parent(parent)
    # The expected outputs are in here: no program may read this process's memory.
    walls.set_inspectable(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    setup: Setup = connection.recv()
    sys.path[:] = setup.path
    try:
        grade, ready = _GRADERS[setup.kind](setup)
    except ImportRefused as e:
        connection.send(Refused(str(e)))
        return
    connection.send(ready)
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        connection.send(grade(job))


class ImportRefused(Exception):
    """A custom reward cannot be imported."""


Grader = Callable[[Any], Reply]


def _math(setup: Setup) -> tuple[Grader, Ready]:
    # Half of a second to import, which no answer's deadline should pay.
    from acereason_trainer.rewards import sympy_latex, toolkit
    from acereason_trainer.rewards.symbolic import symbolically_same

    sympy_latex.symbols("x")
    resource.setrlimit(resource.RLIMIT_AS, (_MATH_MEMORY, _MATH_MEMORY))
    os.nice(_MATH_NICENESS)

    def grade(job: MathJob) -> Grade:
        start = time.monotonic()
        try:
            if setup.math_grader == "toolkit":
                same = toolkit.is_same_answer(job.answer, job.reference)
            else:
                same = is_same_answer(job.answer, job.reference, symbolically_same)
            verdict = Verdict.CORRECT if same else Verdict.WRONG
        except MemoryError:
            verdict = Verdict.MEMORY
        except (
            ArithmeticError,
            AttributeError,
            NotImplementedError,
            RecursionError,
            TypeError,
            ValueError,
        ):
            # What sympy raises for expressions without a value; an answer without one is wrong.
            verdict = Verdict.WRONG
        reward = float(verdict is Verdict.CORRECT)
        return Grade(verdict, reward, time.monotonic() - start, job.answer)

    return grade, Ready()


def _code(setup: Setup) -> tuple[Grader, Ready]:
    sandbox = Sandbox()
    missing = tuple(wall for wall, stands in sandbox.start().items() if not stands)
    grading = Grading(setup.verifier.code, setup.comparator, setup.all_tests)
    known: RecentlyUsed[bytes, Tests] = RecentlyUsed(UNPACKED_BYTES)

    def grade(job: CodeJob) -> Reply:
        program = Program(job.source, job.before)
        tests = known.get(job.digest)
        if tests is None:
            if job.tests is None:
                return WantsTests()
            tests = unpacked(job.tests)
            known.put(job.digest, tests, len(job.tests))
        for last in (False, True):
            try:
                found = grade_program(program, tests, job.limits, grading, sandbox.run)
            except SandboxLost as e:
                if last:
                    return Grade(Verdict.INFRA_ERROR, None, 0.0, str(e))
            else:
                return replace(found, missing_walls=missing)
        raise AssertionError("the second failure returns")

    return grade, Ready(tuple(_MISSING_WALL[wall] for wall in missing))


_MISSING_WALL = {
    "landlock": "this kernel has no landlock: model-written programs can read and write what the "
    "user of this process can; run the verifier in a container of its own",
    "seccomp": "this kernel refuses seccomp filters: model-written programs can open sockets and "
    "start processes; run the verifier in a container without network",
}


def _custom(setup: Setup) -> tuple[Grader, Ready]:
    function = import_reward(setup.function or "")

    def grade(job: CustomJob) -> Reply:
        start = time.monotonic()
        try:
            reward = float(function(job.row, job.response))
        except Exception as e:  # noqa: BLE001 - anything its author's code may raise
            return RewardRaised(f"reward {setup.function} raised {type(e).__name__}: {e}")
        if not 0 <= reward <= 1:
            return RewardRaised(f"reward {setup.function} returned {reward}; it must be 0 to 1")
        verdict = Verdict.CORRECT if reward == 1 else Verdict.WRONG
        return Grade(verdict, reward, time.monotonic() - start)

    return grade, Ready()


def import_reward(path: str) -> Callable[[Mapping[str, Any], str], float]:
    """The function named `package.module:function`. Raises ImportRefused with a sentence."""
    module, _, name = path.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as e:
        raise ImportRefused(
            f"reward.function {path} cannot be imported ({type(e).__name__}: {e}); install its "
            "package in the stage's image or put it on PYTHONPATH"
        ) from e
    if not callable(function):
        raise ImportRefused(
            f"reward.function {path} is not a function; name one that takes "
            "(row, response) and returns 0 to 1"
        )
    return function  # type: ignore[no-any-return]


_GRADERS: dict[str, Callable[[Setup], tuple[Grader, Ready]]] = {
    "math": _math,
    "code": _code,
    "custom": _custom,
}


if __name__ == "__main__":
    main()
