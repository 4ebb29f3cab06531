"""Thousands of hostile and ordinary programs in a row: what they leave behind, and every verdict.

    python -m tests.rewards.soak_code --checks 10000

The programs are those of code_cases.yaml, in an order that a seed decides: quick ones, hostile or
not, and one in a hundred that has to run into a limit. Looked at from outside, in /proc: zombies,
processes, open descriptors and memory of the grader, its workers and their sandboxes.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import chdir, closing
from dataclasses import dataclass, field
from pathlib import Path

from acereason_trainer.config.common import Verifier
from acereason_trainer.rewards import Grade, make_rewarder

from tests.rewards.code_cases import Case, code_cases

SLOW_SHARE = 0.01
_AHEAD = 16
_WARM = 300
"""Checks after which the first look is taken: by then everything is imported and started."""


@dataclass(frozen=True)
class Look:
    """What /proc says about this process and all below it, while nothing is being checked."""

    processes: int
    zombies: int
    descriptors: int
    mib: float


@dataclass
class Report:
    """What a soak found."""

    checks: int
    seconds: float = 0.0
    first: Look | None = None
    last: Look | None = None
    wrong_verdicts: list[str] = field(default_factory=list)
    verdicts: Counter[str] = field(default_factory=Counter)
    left_files: list[str] = field(default_factory=list)

    def problems(self) -> list[str]:
        """What is not as it must be; empty where all is well."""
        assert self.first is not None and self.last is not None
        found = list(self.wrong_verdicts)
        if self.last.zombies:
            found.append(f"{self.last.zombies} zombies")
        if self.last.processes > self.first.processes:
            found.append(f"{self.last.processes - self.first.processes} processes too many")
        if self.last.descriptors > self.first.descriptors:
            found.append(f"{self.last.descriptors - self.first.descriptors} descriptors leaked")
        # The verdicts that a rewarder remembers are its own to keep: 2 KiB each, 65,536 at most.
        if self.last.mib - self.first.mib > 8 + self.checks / 512:
            found.append(f"memory grew from {self.first.mib:.0f} to {self.last.mib:.0f} MiB")
        return found + [f"left behind: {name}" for name in self.left_files]


def soak(checks: int, workers: int = 2, seed: int = 0) -> Report:
    """Have so many programs checked."""
    report = Report(checks)
    places = [Path("/tmp"), Path("/dev/shm")]
    with tempfile.TemporaryDirectory() as here, chdir(here):
        before = {name for place in places for name in _suspects(place)}
        began = time.monotonic()
        with closing(make_rewarder("code", Verifier(workers=workers), require_think=False)) as by:
            waiting: deque[tuple[Case, Future[Grade]]] = deque()

            def take() -> None:
                case, future = waiting.popleft()
                grade = future.result(300)
                report.verdicts[grade.verdict] += 1
                if grade.verdict != case["verdict"]:
                    report.wrong_verdicts.append(
                        f"{case['pins']}: {grade.verdict}, not {case['verdict']} ({grade.detail})"
                    )

            for number, case in enumerate(_mixed(checks, seed)):
                # A limit that differs in the ninth digit makes it another job.
                limit = case.get("time_limit", 6) * (1 + number * 1e-9)
                row = {**case, "time_limit": limit}
                waiting.append((case, by.submit(row, case["response"])))
                if len(waiting) >= _AHEAD:
                    take()
                if number == min(_WARM, checks // 4):
                    while waiting:
                        take()
                    report.first = _look()
            while waiting:
                take()
            report.last = _look()
        report.seconds = time.monotonic() - began
        after = {name for place in places for name in _suspects(place)}
        report.left_files = sorted((after - before) | {str(p) for p in Path(here).iterdir()})
    return report


def _mixed(checks: int, seed: int) -> Iterator[Case]:
    draw = random.Random(seed)
    slow = [c for c in code_cases() if c["verdict"] in ("timeout", "memory")]
    quick = [c for c in code_cases() if c not in slow and "thread bomb" not in c["pins"]]
    for _ in range(checks):
        yield draw.choice(slow if draw.random() < SLOW_SHARE else quick)


def _suspects(place: Path) -> set[str]:
    """Names that the sandbox or one of the programs would leave there."""
    names = ("acereason-zygote", "note", "left", "sem.", "psm_")
    return {str(path) for path in place.iterdir() if path.name.startswith(names)}


def _look() -> Look:
    pids = [os.getpid(), *_descendants()]
    return Look(
        processes=len(pids),
        zombies=sum(_stat(pid)[0] == "Z" for pid in pids),
        descriptors=sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids),
        mib=sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids) / 256,
    )


def _descendants() -> list[int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(_stat(int(entry.name))[1])
            except OSError:
                continue  # it ended while it was being looked at
    found = [os.getpid()]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]


def _stat(pid: int) -> list[str]:
    """State, parent, ... of a process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def main() -> int:
    """Print what was found; 1 where something is not as it must be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--checks", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    report = soak(options.checks, options.workers, options.seed)
    verdicts = ", ".join(f"{n} {v}" for v, n in report.verdicts.most_common())
    print(f"{report.checks} checks in {report.seconds:.0f} s: {verdicts}")
    for when, look in (("begin", report.first), ("end", report.last)):
        print(f"  {when}: {look}")
    for problem in report.problems():
        print(f"  {problem}")
    print("clean" if not report.problems() else "NOT CLEAN")
    return 1 if report.problems() else 0


if __name__ == "__main__":
    sys.exit(main())
