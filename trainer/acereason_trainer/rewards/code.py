"""Whether a program solves a problem: every test's output must be the expected one.

The program runs elsewhere (sandbox.py); here its output is compared, as data: nothing that it
defines or prints can decide its own verdict.
"""

import signal
from collections.abc import Callable
from dataclasses import dataclass, replace

from acereason_trainer.config.common import CodeLimits
from acereason_trainer.rewards.outputs import (
    Comparator,
    lcb_same_output,
    lcb_same_value,
    same_output,
    same_value,
)
from acereason_trainer.rewards.problem_limits import ProblemLimits
from acereason_trainer.rewards.problem_tests import Test, Tests
from acereason_trainer.rewards.program import Program
from acereason_trainer.rewards.protocol import Grade, Verdict
from acereason_trainer.rewards.sandbox import CPU_TOLERANCE, STARVED, Allowance, Outcome

Run = Callable[[Program, str | None, bytes, Allowance], Outcome]
"""Runs a program, or calls a function of it, on one input within limits (Sandbox.run)."""

SHORTEST_LIMIT = 1.0
"""CPU seconds that any test may take, however fast the reference solution is."""
_IDLE_EXTRA = 2.0
"""Seconds that a program may do nothing beyond as many as it may work. CPU seconds and idle ones
are limited, never those on the wall: a busy machine changes no verdict."""
_OUTPUT_FACTOR = 4
"""How many times as long as the expected output an output may be, beyond the fixed limit."""
_OUTPUT_STEP = 64 << 10


@dataclass(frozen=True)
class Grading:
    """How programs are graded: a stage's settings."""

    limits: CodeLimits
    comparator: Comparator = "exact"
    all_tests: bool = False
    """Go on after the first failure."""


def wall_seconds(limits: CodeLimits) -> float:
    """Seconds on the wall within which all tests of a program end, even on a starved machine."""
    return STARVED * (2 * limits.seconds_per_program + _IDLE_EXTRA)


def grade_program(
    program: Program, tests: Tests, own: ProblemLimits, grading: Grading, run: Run
) -> Grade:
    """Run the tests, cheapest first, up to the first failure unless all are asked for.

    CPU seconds are limited for each test and for all of them together. A program can read the
    limits that it runs under, so they are the problem's: none may say anything about one test.
    Raises SandboxLost where a run says nothing about the program.
    """
    limits = grading.limits
    output_bytes = limits.output_kib * 1024 + _room_beyond(tests)
    longest = max(seconds_allowed(test, own, limits) for test in tests)
    together = f"all tests together took more than {limits.seconds_per_program:g} s"
    passed = dict.fromkeys(range(len(tests)), False)
    first_bad: Verdict | None = None
    seconds, cpu, idle, detail = 0.0, 0.0, 0.0, ""
    for number in sorted(passed, key=lambda n: _cost(tests[n])):
        test = tests[number]
        cpu_left = limits.seconds_per_program - cpu
        idle_left = limits.seconds_per_program + _IDLE_EXTRA - idle
        if cpu_left <= 0 or idle_left <= 0:
            verdict, why = Verdict.TIMEOUT, together
        else:
            allowance = Allowance(
                cpu_seconds=min(longest, cpu_left),
                idle_seconds=min(longest + _IDLE_EXTRA, idle_left),
                memory_mib=own.memory_mib or limits.memory_mib,
                output_bytes=output_bytes,
                # LiveCodeBench's checker prepares whole programs too.
                prepared=test.call is not None or grading.comparator == "lcb",
            )
            outcome = run(program, test.call, _encoded(test.stdin), allowance)
            seconds += outcome.wall_seconds
            cpu += outcome.cpu_seconds
            idle += outcome.idle_seconds
            seconds_here = min(seconds_allowed(test, own, limits), cpu_left)
            within = replace(allowance, cpu_seconds=seconds_here)
            verdict, why = judge(outcome, test, within, own.tolerance, grading.comparator)
            if verdict is Verdict.TIMEOUT and (
                outcome.cpu_seconds >= cpu_left or outcome.idle_seconds >= idle_left
            ):
                why = together
        passed[number] = verdict is Verdict.CORRECT
        if verdict is not Verdict.CORRECT:
            first_bad = first_bad or verdict
            detail = detail or f"test {number + 1} of {len(tests)}: {why}"
            if not grading.all_tests:
                break
    return Grade(
        verdict=first_bad or Verdict.CORRECT,
        reward=float(first_bad is None),
        seconds=seconds,
        detail=detail,
        passed=tuple(passed.values()) if grading.all_tests else None,
    )


def seconds_allowed(test: Test, own: ProblemLimits, limits: CodeLimits) -> float:
    """CPU seconds of one test: from the reference solution's time, else the problem's limit, else
    the stage's."""
    if test.seconds is not None:
        return max(SHORTEST_LIMIT, limits.reference_factor * test.seconds)
    return own.seconds or limits.seconds_per_test


def judge(  # noqa: PLR0911 - one for each verdict
    outcome: Outcome,
    test: Test,
    allowance: Allowance,
    tolerance: float | None,
    comparator: Comparator,
) -> tuple[Verdict, str]:
    """Verdict of one test and a few words why."""
    if outcome.flooded or outcome.signal == signal.SIGXFSZ:
        return Verdict.OUTPUT_LIMIT, f"more than {allowance.output_bytes >> 10} KiB of output"
    if (
        outcome.late
        or outcome.cpu_seconds > allowance.cpu_seconds + CPU_TOLERANCE
        or _out_of_cpu(outcome)
    ):
        return Verdict.TIMEOUT, f"more than {allowance.cpu_seconds:g} s"
    if outcome.peak_mib > allowance.memory_mib:
        return Verdict.MEMORY, f"more than {allowance.memory_mib} MiB"
    if outcome.crowded:
        return Verdict.RUNTIME_ERROR, "too many threads"
    if outcome.exit_status != 0:
        return _crash(outcome)
    if test.call is not None:
        if comparator == "lcb":
            right = lcb_same_value(outcome.result, test.expected)
        else:
            right = same_value(outcome.result, test.expected, tolerance)
        return (Verdict.CORRECT, "") if right else (Verdict.WRONG, "another result was expected")
    output = outcome.stdout.decode("utf-8", "replace")
    if comparator == "lcb":
        right = lcb_same_output(output, test.expected)
    else:
        right = same_output(output, test.expected, tolerance)
    return (Verdict.CORRECT, "") if right else (Verdict.WRONG, "another output was expected")


def _room_beyond(tests: Tests) -> int:
    """Bytes of output beyond the fixed limit: from the longest expected one, and coarse."""
    longest = _OUTPUT_FACTOR * max(len(_encoded(test.expected)) for test in tests)
    return _OUTPUT_STEP << max(0, (longest - 1) // _OUTPUT_STEP).bit_length()


def _cost(test: Test) -> tuple[float, int]:
    """What comes first costs least: by the reference solution's time, then by size."""
    return test.seconds or 0.0, len(test.stdin) + len(test.expected)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _out_of_cpu(outcome: Outcome) -> bool:
    return outcome.signal in (signal.SIGKILL, signal.SIGXCPU) and outcome.cpu_seconds > 0.9


def _crash(outcome: Outcome) -> tuple[Verdict, str]:
    last_line = outcome.stderr.rstrip().rpartition("\n")[2]
    if last_line.partition(":")[0].endswith("MemoryError"):
        return Verdict.MEMORY, "out of memory"
    if outcome.signal is not None:
        return Verdict.RUNTIME_ERROR, f"ended by {signal.strsignal(outcome.signal)}"
    return Verdict.RUNTIME_ERROR, last_line[:200] or f"exit status {outcome.exit_status}"
