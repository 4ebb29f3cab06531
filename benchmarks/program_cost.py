"""What a check of a trivial program costs: one test, and each further one, on one core.

    python -m benchmarks.program_cost

Everything is pinned to one core: comparing, sandbox and programs. `wall` is what passes on the
clock and needs an idle machine; `cpu` is what all processes together used, on any machine.
"""

import argparse
import os
import resource
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from statistics import median

from acereason_trainer.config.common import CodeLimits
from acereason_trainer.rewards.code import Grading, grade_program
from acereason_trainer.rewards.problem_limits import NO_LIMITS
from acereason_trainer.rewards.problem_tests import read_tests
from acereason_trainer.rewards.program import Program
from acereason_trainer.rewards.sandbox import Sandbox

TRIVIAL = Program("print(sum(map(int, input().split())))")
MOST_FIRST_MS, MOST_FURTHER_MS = 5.0, 3.0


@dataclass(frozen=True)
class Cost:
    """Milliseconds."""

    wall: float
    cpu: float


def program_cost(tests: int, repeats: int) -> Cost:
    """Of one check of a trivial program with so many tests; the median of the walls."""
    given = read_tests([{"stdin": "1 2", "stdout": "3"}] * tests)
    grading = Grading(CodeLimits())
    walls = []
    before = _cpu_seconds()
    with closing(Sandbox()) as sandbox:
        sandbox.start()
    start = _cpu_seconds() - before
    with closing(Sandbox()) as sandbox:
        sandbox.start()
        for _ in range(repeats):
            began = time.perf_counter()
            grade = grade_program(TRIVIAL, given, NO_LIMITS, grading, sandbox.run)
            walls.append(time.perf_counter() - began)
            assert grade.reward == 1, grade
    # What the sandbox used is known once it has ended; its start is not the check's.
    used = _cpu_seconds() - before - 2 * start
    return Cost(median(walls) * 1e3, used / repeats * 1e3)


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=300)
    options = parser.parse_args(arguments)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    first = program_cost(1, options.repeats)
    ten = program_cost(10, max(1, options.repeats // 10))
    further = Cost((ten.wall - first.wall) / 9, (ten.cpu - first.cpu) / 9)
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")
    for what, cost, most in (
        ("one test", first, MOST_FIRST_MS),
        ("each further test", further, MOST_FURTHER_MS),
    ):
        print(f"{what:20} {cost.wall:6.2f} ms wall {cost.cpu:6.2f} ms cpu (at most {most:g} ms)")


if __name__ == "__main__":
    main()
