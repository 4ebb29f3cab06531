"""Thousands of hostile and ordinary checks in a row: what they leave behind, and every verdict.

    python -m tests.rewards.soak --checks 10000

The programs are those of code_cases.yaml, in an order that a seed decides: quick ones, hostile or
not, and one in a hundred that has to run into a limit. Among them are the answers of
math_cases.jsonl, equal roots that only algebra finds equal, and answers that blow up, whose worker
is killed at a short deadline and forked anew. One check in four goes through a verifier service in
a process of its own. Looked at from outside, in /proc: zombies, processes, open descriptors and
memory of the grader, the service, all workers and their sandboxes.
"""

import argparse
import json
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Set
from concurrent.futures import Future
from contextlib import ExitStack, chdir, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Literal

from acereason_trainer.config.common import Verifier
from acereason_trainer.processes import stat_words
from acereason_trainer.rewards import Grade, Rewarder, Verdict, make_rewarder
from acereason_trainer.rewards.latex import MAX_CHARACTERS

from tests.rewards.code_cases import code_cases
from tests.verifier.services import a_service
from tests.waiting import wait_for

SLOW_SHARE = 0.01
MATH_SHARE, ROOTS_SHARE, BOMB_SHARE, REFUSED_SHARE = 0.15, 0.1, 0.03, 0.25
REMOTE_SHARE = 0.25
BOMB_SECONDS = 0.1
"""Of a bomb: a quarter of what it takes on an idle core. An answer may not be as long as to take
seconds."""
REFUSED = ("7", r"10^{10^{10}}")
BOMB = (
    r"\sum_{k=0}^{n-1} F_k F_{n-k-1}",
    "+".join(rf"\sum_{{k=0}}^{{n-{i}}} F_k F_{{n-k-{i}}}" for i in range(1, 7))
    + "+"
    + r"\sin " * 40
    + "x",
)
"""Reference and answer: of one that is refused unread, and of one that is stopped while it is read
(every time anew: what a parser learned ends with its worker), with room for a number behind it."""
assert len(BOMB[1]) + len("+123456") <= MAX_CHARACTERS, "it would be refused unread, too"
STRAY_MIB = 12.0
"""What two dozen processes of 600 MiB may have more at one look than at another, however long the
soak."""
_AHEAD = 16
_WARM = 1000
"""Checks after which the first look is taken: by then everything is imported, started and met."""


@dataclass(frozen=True)
class Look:
    """What /proc says about this process and what it started for the soak, while nothing is being
    checked."""

    processes: int
    zombies: int
    descriptors: int
    own_mib: float
    """Of this process, in which rewarders remember verdicts."""
    mib: float
    """Of all others."""


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
        if self.last.mib - self.first.mib > STRAY_MIB:
            found.append(f"memory grew from {self.first.mib:.0f} to {self.last.mib:.0f} MiB")
        # The verdicts that a rewarder remembers are its own to keep: 3 KiB each, 65,536 at most.
        remembered = self.checks * 3 / 1024
        if self.last.own_mib - self.first.own_mib > 4 + remembered:
            found.append(f"own memory: {self.first.own_mib:.0f} to {self.last.own_mib:.0f} MiB")
        return found + [f"left behind: {name}" for name in self.left_files]


def soak(checks: int, workers: int = 2, seed: int = 0) -> Report:
    """Have so many answers checked."""
    report = Report(checks)
    places = [Path("/tmp"), Path("/dev/shm")]
    with tempfile.TemporaryDirectory() as here, chdir(here):
        before = {name for place in places for name in _suspects(place)}
        began = time.monotonic()
        with ExitStack() as stack:
            others = frozenset(_descendants())
            rewarders = _rewarders(stack, workers)
            waiting: deque[tuple[Check, Future[Grade]]] = deque()

            def take() -> None:
                check, future = waiting.popleft()
                grade = future.result(300)
                report.verdicts[grade.verdict] += 1
                if grade.verdict not in check.verdicts:
                    wanted = " or ".join(sorted(check.verdicts))
                    report.wrong_verdicts.append(
                        f"{check.pins}: {grade.verdict}, not {wanted} ({grade.detail})"
                    )

            draw = random.Random(seed)
            for number, check in enumerate(_mixed(checks, draw)):
                place = "remote" if draw.random() < REMOTE_SHARE else "local"
                rewarder = rewarders[check.kind, place]
                waiting.append((check, rewarder.submit(check.row, check.response)))
                if len(waiting) >= _AHEAD:
                    take()
                if number == min(_WARM, checks // 2):
                    while waiting:
                        take()
                    report.first = _look_at_all(rewarders, workers, "begin", others)
            while waiting:
                take()
            report.last = _look_at_all(rewarders, workers, "end", others)
        report.seconds = time.monotonic() - began
        new = {name for place in places for name in _suspects(place)} - before
        report.left_files = sorted(_that_stay(new) | {str(p) for p in Path(here).iterdir()})
    return report


Kind = Literal["code", "math", "bomb"]
Place = tuple[Kind, str]
"""Of a rewarder: what it is for, and where it works."""


@dataclass(frozen=True)
class Check:
    """A response and what may come of it."""

    kind: Kind
    row: Mapping[str, object]
    response: str
    verdicts: frozenset[str]
    pins: str


def _rewarders(stack: ExitStack, workers: int) -> dict[Place, Rewarder]:
    service = stack.enter_context(a_service(code_workers=workers, math_workers=1))
    made: dict[Place, Rewarder] = {}
    for place, url in (("local", "local"), ("remote", service.url)):
        usual = Verifier(service=url, workers=workers)
        hurried = Verifier(service=url, workers=1, math_seconds=BOMB_SECONDS)
        made["code", place] = make_rewarder("code", usual, require_think=False)
        made["math", place] = make_rewarder("math", usual)
        made["bomb", place] = make_rewarder("math", hurried)
    for rewarder in made.values():
        stack.callback(rewarder.close)
    return made


def _mixed(checks: int, draw: random.Random) -> Iterator[Check]:
    """No two of those that need a worker are the same job."""
    slow = [c for c in code_cases() if c["verdict"] in ("timeout", "memory")]
    quick = [c for c in code_cases() if c not in slow and "thread bomb" not in c["pins"]]
    text = Path(__file__).with_name("math_cases.jsonl").read_text("utf-8")
    answers = [json.loads(line) for line in text.splitlines()]
    for number in range(checks):
        lot = draw.random()
        if lot < BOMB_SHARE:
            if draw.random() < REFUSED_SHARE:
                yield _boxed("math", REFUSED[0], f"{REFUSED[1]}+{number + 2}", {Verdict.WRONG})
            else:
                yield _boxed("bomb", BOMB[0], f"{BOMB[1]}+{number + 2}", {Verdict.TIMEOUT})
        elif lot < BOMB_SHARE + ROOTS_SHARE:
            root, other = rf"\sqrt{{{3 * (number + 2) ** 2}}}", rf"{number + 2}\sqrt{{3}}"
            yield _boxed("math", other, root, {Verdict.CORRECT})
        elif lot < BOMB_SHARE + ROOTS_SHARE + MATH_SHARE:
            case = draw.choice(answers)
            row, verdicts = {"answer": case["answer"]}, frozenset({case["verdict"]})
            yield Check("math", row, case["response"], verdicts, case["pins"])
        else:
            case = draw.choice(slow if draw.random() < SLOW_SHARE else quick)
            # A limit that differs in the ninth digit makes it another job.
            row = {**case, "time_limit": case.get("time_limit", 6) * (1 + number * 1e-9)}
            verdicts = frozenset({case["verdict"]})
            yield Check("code", row, case["response"], verdicts, case["pins"])


def _boxed(kind: Kind, reference: str, answer: str, verdicts: Set[str]) -> Check:
    response = f"</think> \\boxed{{{answer}}}"
    return Check(kind, {"answer": reference}, response, frozenset(verdicts), answer)


def _suspects(place: Path) -> set[str]:
    """Names that the sandbox or one of the programs would leave there."""
    names = ("acereason-zygote", "note", "left", "sem.", "psm_")
    return {str(path) for path in place.iterdir() if path.name.startswith(names)}


def _that_stay(names: Set[str]) -> Set[str]:
    """Others on this machine make such files too, and remove them before long."""

    def left() -> Set[str]:
        return {name for name in names if Path(name).exists()}

    with suppress(AssertionError):
        wait_for(lambda: not left(), "files to go")
    return left()


def _look_at_all(
    rewarders: Mapping[Place, Rewarder], workers: int, when: str, others: Set[int]
) -> Look:
    """A look while every worker runs: one that was killed is forked anew when it is next needed."""
    waiting = []
    for number, ((kind, _), rewarder) in enumerate(rewarders.items()):
        for job in range(4 * workers):
            draw = random.Random(f"{when} {number} {job}").randint(10**4, 10**5)
            if kind == "code":
                # numpy is imported once in each worker, when a program first asks for it.
                program = f"import time, numpy\ntime.sleep(0.1)\nprint({draw})"
                row = {"tests": [{"stdin": "", "stdout": str(draw)}]}
                waiting.append(rewarder.submit(row, f"```python\n{program}\n```"))
            elif kind == "math":
                waiting.append(_submit_root(rewarder, draw))
    assert {future.result(300).verdict for future in waiting} == {Verdict.CORRECT}
    numbers = count(random.Random(when).randint(10**5, 10**6))

    def works(rewarder: Rewarder) -> bool:
        return _submit_root(rewarder, next(numbers)).result(300).verdict == Verdict.CORRECT

    for (kind, _), rewarder in rewarders.items():
        if kind == "bomb":  # a root, too, may take as long on a core that is shared
            wait_for(partial(works, rewarder), "the worker of a hurried rewarder")
    return _look(others)


def _submit_root(rewarder: Rewarder, number: int) -> Future[Grade]:
    root = rf"</think> \boxed{{\sqrt{{{3 * number**2}}}}}"
    return rewarder.submit({"answer": rf"{number}\sqrt{{3}}"}, root)


def _look(others: Set[int]) -> Look:
    """A look at processes that all stay: one that ends meanwhile had ended before."""
    while True:
        with suppress(FileNotFoundError, ProcessLookupError):
            return _look_once(others)


def _look_once(others: Set[int]) -> Look:
    below = _descendants(others)
    alive = [pid for pid in below if stat_words(pid)[0] != "Z"]
    return Look(
        processes=1 + len(below),
        zombies=len(below) - len(alive),
        descriptors=sum(1 for pid in (os.getpid(), *alive) for _ in _descriptors(pid)),
        own_mib=_kib(os.getpid()) / 1024,
        mib=sum(map(_kib, alive)) / 1024,
    )


def _kib(pid: int) -> int:
    """Memory of a process; what forks share is divided among them."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)[1])  # type: ignore[index]


def _descriptors(pid: int) -> Iterator[str]:
    """All but network connections, which stay open for a while and then end by themselves."""
    table = Path("/proc/net/tcp").read_text().splitlines()[1:]
    connections = {f"socket:[{line.split()[9]}]" for line in table}
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # the one with which the folder was read
            if (name := str(descriptor.readlink())) not in connections:
                yield name


def _descendants(others: Set[int] = frozenset()) -> list[int]:
    """Processes below this one, but for others and what is below them: a control plane, say, that
    tests beside this one use."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(stat_words(entry.name)[1])
            except OSError:
                continue  # it ended while it was being looked at
    found = [os.getpid()]
    for pid in found:
        found += [c for c, parent in parents.items() if parent == pid and c not in others]
    return found[1:]


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
