"""A process that forks the process that checks answers, one at a time.

Started by nursery.py as `python -m acereason_trainer.rewards.worker FD PARENT`. It imports what is
slow to import, then waits, forks, kills and reaps, as it is told; it has a single thread, so that
no lock is held by anybody at a fork. A fork that has ended stays a zombie until its end is asked
for, so that its number, by which the trainer reads its clock, is nobody else's.

The fork first says `Ready` or `Refused`; then each job is answered by a Grade, or by the reason why
there is none (jobs.py). The trainer has it killed when a job takes too long, so nothing here
watches the clock.
"""

import gc
import importlib
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from typing import Any

from acereason_trainer.processes import die_with_parent
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
from acereason_trainer.rewards.sandboxed import walls

_MATH_MEMORY = 1 << 30
"""Bytes of address space; Python with sympy takes a third of it."""
_MATH_NICENESS = 5
"""Expressions that need algebra stand back behind the trainer's own thread, which compares plain
numbers. Their deadline is CPU time, so this changes no verdict."""


def main() -> None:
    """Fork whenever asked to, until the trainer closes the connection or dies."""
    control, parent = Connection(int(sys.argv[1])), int(sys.argv[2])
    die_with_parent(parent)
    # The expected outputs will be in a fork: no program may read its memory.
    walls.set_inspectable(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    setup: Setup = control.recv()
    sys.path[:] = setup.path
    _import_what_is_slow(setup)
    gc.collect()
    gc.freeze()  # else the first collection of every fork would copy what they share
    connection = _in_each_fork(control)
    if connection is not None:
        _serve(connection, setup)


def _in_each_fork(control: Connection) -> Connection | None:
    """Returns once in each fork, with its connection; in the nursery at the end, with None."""
    nursery = os.getpid()
    try:
        while control.recv():
            descriptor = recv_handle(control)
            try:
                pid = os.fork()
            except OSError as e:
                os.close(descriptor)
                control.send(str(e))
                continue
            if pid == 0:
                die_with_parent(nursery)
                control.close()
                return Connection(descriptor)
            os.close(descriptor)
            control.send(pid)
            control.recv()
            os.kill(pid, signal.SIGKILL)
            control.send(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    except EOFError:
        pass
    return None


def _import_what_is_slow(setup: Setup) -> None:
    if setup.kind == "math":
        # numpy, which sympy imports, would start threads of its own.
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        from acereason_trainer.rewards import sympy_latex, toolkit  # noqa: F401

        # The parser learns as it reads; every fork begins with what it learnt here.
        sympy_latex.symbols(r"\sum_{k=1}^{n} a_k + \frac{\sqrt{k}}{\sin x}")


def _serve(connection: Connection, setup: Setup) -> None:
    """Check what comes over the connection until the trainer closes it."""
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
    # Nobody but a math worker imports sympy.
    from acereason_trainer.rewards import toolkit
    from acereason_trainer.rewards.symbolic import symbolically_same

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
