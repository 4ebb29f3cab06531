"""Whether a program solves a problem: every test's output must be the expected one.

The program runs elsewhere (sandbox.py); here its output is compared, as data: nothing that it
defines or prints can decide its own verdict.
"""

import json
import re
import signal
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from acereason_trainer.config.common import CodeLimits
from acereason_trainer.rewards.problem_tests import Tests
from acereason_trainer.rewards.protocol import Grade, Verdict
from acereason_trainer.rewards.sandbox import Outcome, Program

Run = Callable[[Program, bytes, float], Outcome]
"""Runs a program on one input with so many CPU seconds (Sandbox.run)."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_DEF = re.compile(r"^([ \t]*)def[ \t]+(\w+)[ \t]*\(", re.M)
_CLASS = re.compile(r"^class[ \t]+(\w+)", re.M)
_CPU_TOLERANCE = 0.1


def grade_program(
    program: Program, tests: Tests, limits: CodeLimits, run: Run, all_tests: bool
) -> Grade:
    """Run the tests in order, up to the first failure unless `all_tests`.

    CPU seconds are limited for each test and for all of them together. Raises SandboxLost where a
    run says nothing about the program.
    """
    if not tests:
        return Grade(Verdict.INFRA_ERROR, None, 0.0, "the problem has no tests")
    verdicts: list[Verdict] = []
    seconds, cpu, detail = 0.0, 0.0, ""
    for number, test in enumerate(tests, 1):
        allowed = min(limits.seconds_per_test, limits.seconds_per_program - cpu)
        if allowed <= 0:
            verdict, why = Verdict.TIMEOUT, "all tests together took too long"
        else:
            outcome = run(program, _stdin(test["input"], program), allowed)
            seconds += outcome.wall_seconds
            cpu += outcome.cpu_seconds
            verdict, why = judge(outcome, test["output"], program, limits, allowed)
        verdicts.append(verdict)
        if verdict is not Verdict.CORRECT:
            detail = detail or f"test {number} of {len(tests)}: {why}"
            if not all_tests:
                break
    first_bad = next((v for v in verdicts if v is not Verdict.CORRECT), Verdict.CORRECT)
    return Grade(
        verdict=first_bad,
        reward=float(first_bad is Verdict.CORRECT),
        seconds=seconds,
        detail=detail,
        passed=tuple(v is Verdict.CORRECT for v in verdicts) if all_tests else None,
    )


def judge(
    outcome: Outcome, expected: Any, program: Program, limits: CodeLimits, allowed: float
) -> tuple[Verdict, str]:
    """Verdict of one test and a few words why."""
    if len(outcome.stdout) > limits.output_kib * 1024:
        return Verdict.OUTPUT_LIMIT, f"more than {limits.output_kib} KiB of output"
    if outcome.late or outcome.cpu_seconds > allowed + _CPU_TOLERANCE or _out_of_cpu(outcome):
        return Verdict.TIMEOUT, f"more than {allowed:g} s"
    if outcome.exit_status != 0:
        return _crash(outcome)
    if program.entry is not None:
        right = same_value(outcome.result, expected)
        return (Verdict.CORRECT, "") if right else (Verdict.WRONG, "another result was expected")
    right = same_output(outcome.stdout.decode("utf-8", "replace"), str(expected))
    return (Verdict.CORRECT, "") if right else (Verdict.WRONG, "another output was expected")


def same_output(actual: str, expected: str) -> bool:
    """Equal lines without trailing blanks; else equal tokens, where spaces carry no meaning.

    Two tokens are also equal as decimals, exactly, when one of them is written with a point or an
    exponent (2.50 and 2.5; never 007 and 7).
    """
    got, want = _lines(actual), _lines(expected)
    if got == want:
        return True
    if any(not line or line != " ".join(line.split()) for line in want):
        return False
    left, right = actual.split(), expected.split()
    return len(left) == len(right) and all(map(_same_token, left, right))


def same_value(actual: bytes, expected: Any) -> bool:
    """Compare the JSON that a call returned with the expected value (JSON text, or the value).

    By plain types: true is not 1, a list is not its text; an integer equals the float of the same
    number. Floats compare exactly, as LiveCodeBench does.
    """
    try:
        value = json.loads(actual)
    except ValueError:
        return False
    if isinstance(expected, str):
        try:
            return _same_plain(value, json.loads(expected))
        except ValueError:
            return bool(value == expected)
    return _same_plain(value, expected)


def entry_point(starter: str) -> str:
    """`Class.method` or `function` named by a header; the last function is the asked one.

    Raises ValueError where the header defines no function.
    """
    functions = [m for m in _DEF.finditer(starter) if m[2] != "__init__"]
    if not functions:
        raise ValueError(f"the starter {starter[:60]!r} defines no function; give its header")
    last = functions[-1]
    classes = [m[1] for m in _CLASS.finditer(starter, 0, last.start())]
    return f"{classes[-1]}.{last[2]}" if last[1] and classes else last[2]


def _stdin(value: Any, program: Program) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if program.entry is None:
        return str(value).encode()
    return json.dumps(value).encode()


def _out_of_cpu(outcome: Outcome) -> bool:
    return outcome.signal in (signal.SIGKILL, signal.SIGXCPU) and outcome.cpu_seconds > 0.9


def _crash(outcome: Outcome) -> tuple[Verdict, str]:
    last_line = outcome.stderr.rstrip().rpartition("\n")[2]
    if last_line.startswith("MemoryError"):
        return Verdict.MEMORY, "out of memory"
    if outcome.signal is not None:
        return Verdict.RUNTIME_ERROR, signal.Signals(outcome.signal).name
    return Verdict.RUNTIME_ERROR, last_line[:200] or f"exit status {outcome.exit_status}"


def _lines(text: str) -> list[str]:
    lines = [line.rstrip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _same_token(left: str, right: str) -> bool:
    if left == right:
        return True
    if not (_NUMBER.fullmatch(left) and _NUMBER.fullmatch(right)):
        return False
    as_decimals = any(c in ".eE" for c in left + right)
    return as_decimals and Decimal(left) == Decimal(right)


def _same_plain(left: Any, right: Any) -> bool:
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, int | float) and isinstance(right, int | float):
        return left == right
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(_same_plain, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_same_plain(left[k], right[k]) for k in left)
    return bool(left == right)
