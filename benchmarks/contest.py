"""The driver's end of peers/turns.py: contestants as processes that step one after the other.

A contestant that computes while it is another's turn would be timed for less than it does, and
nobody would see it in the figures. So whatever it does unasked ends the part: an answer that is
there before its turn, a step of another number, or CPU time that it takes while it waits.
"""

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from benchmarks.process_tree import cpu_seconds, descendants, end_orphans, peak_mib
from benchmarks.progress import Steps

Answer = dict[str, Any]
PATIENCE = 1200.0
"""Seconds for a step, or for getting ready while others do: far more than any takes. A contestant
that hangs is to end its part and not the whole benchmark."""
MOST_WAITING = 0.1
"""Cores that a contestant may take while it waits. One that computes takes a whole one; what waits
in truth, threads of engines and of libraries with it, takes a hundredth."""
UNCERTAIN = 0.2
"""Seconds of CPU time beyond that: the kernel tells them in hundredths, process by process."""


class OutOfTurn(RuntimeError):
    """A contestant that did something while it was another's turn."""


class Lines:
    """Lines of a pipe, as they come. A file object would read ahead, and of the lines that it holds
    `select` knows nothing."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._fd = pipe.fileno()
        self._read = b""

    def next(self, patience: float) -> str | None:
        """Empty where the pipe has ended; None where no line came in so many seconds."""
        deadline = time.monotonic() + patience
        while b"\n" not in self._read:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._fd], [], [], left)[0]:
                return None
            if not (more := os.read(self._fd, 65536)):
                return ""
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        return line.decode()


class Contestant:
    """A process that makes one step when it is told to."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, env: Mapping[str, str]
    ) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.name = name
        self._log = log
        self._turns = 0
        self._waits_since: tuple[float, float] | None = None
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=out,
                env=dict(env),
            )
        assert self._process.stdout is not None
        self._lines = Lines(self._process.stdout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        left = descendants(self._process.pid)
        with suppress(BrokenPipeError):  # it is gone already, and did not read what was said last
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        end_orphans(left)  # an engine holds its memory until then, which the next contest needs

    def answer(self) -> Answer:
        """The next line of the process. Raises RuntimeError with its log's end where it is gone, or
        says nothing for PATIENCE seconds."""
        line = self._lines.next(PATIENCE)
        if not line:
            what = f"said nothing for {PATIENCE:g} s" if line is None else self._end()
            end = self._log.read_text(errors="replace")[-1500:]
            raise RuntimeError(f"{self.name} {what} (all of its log: {self._log}):\n{end}")
        found: Answer = json.loads(line)
        return found

    def _end(self) -> str:
        """How it ended: a process that is killed says nothing of it in its log."""
        try:
            code = self._process.wait(10)
        except subprocess.TimeoutExpired:
            return "closed its output"
        if code >= 0:
            return f"ended with {code}"
        name = signal.Signals(-code).name
        return f"was killed by {name}" + (
            ", as where memory is full" if code == -signal.SIGKILL else ""
        )

    def turn(self) -> Answer:
        """One step, with its wall-clock `seconds` beside what the process says of it, and with what
        it took before, while it waited: `waited` seconds and `waitedCpu` of them.

        Raises OutOfTurn where it has not waited for this turn, or has made another step.
        """
        assert self._process.stdin is not None
        if self._lines.next(0.0):
            raise OutOfTurn(f"{self.name} does not wait: after turn {self._turns} it went on")
        self._turns += 1
        waited = self._waited()
        began = time.monotonic()
        with suppress(BrokenPipeError):  # it died after its last turn: its answer says so
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()
        answer = self.answer()
        seconds = time.monotonic() - began
        if answer.get("step") != self._turns:
            said = answer.get("step", "none")
            raise OutOfTurn(f"{self.name} told of step {said} in turn {self._turns}")
        pid = self._process.pid
        self._waits_since = time.monotonic(), cpu_seconds(pid)
        return {"seconds": seconds, **waited, "peakMib": peak_mib(pid), **answer}

    def _waited(self) -> Answer:
        """Since its last turn; nothing before the first, while it gets ready."""
        if self._waits_since is None:
            return {}
        since, cpu = self._waits_since
        now_cpu = cpu_seconds(self._process.pid)
        return {"waited": time.monotonic() - since, "waitedCpu": max(0.0, now_cpu - cpu)}


def in_short(error: str) -> str:
    """What failed, and the last words of its log."""
    first, *log = (error.strip() or "no reason was given").splitlines()
    first = first.strip().rstrip(":.")
    return f"{first}: {log[-1].strip().rstrip('.')}" if log else first


def taken_of(done: Mapping[str, Sequence[Answer]]) -> dict[str, dict[str, float]]:
    """By contestant: the cores it took while it waited, and its largest memory."""
    waits = {name: _waits(answers) for name, answers in done.items()}
    return {
        name: {
            "waitingCores": round(cpu / max(waited, 1e-9), 4),
            "peakMib": round(max(a.get("peakMib", 0.0) for a in done[name])),
        }
        for name, (waited, cpu) in waits.items()
    }


def versions_of(done: Mapping[str, Sequence[Answer]]) -> dict[str, str]:
    """Of the peer's packages, as one of its processes has told them."""
    told: list[dict[str, str]] = [
        answers[0]["versions"] for answers in done.values() if "versions" in answers[0]
    ]
    if not told or any(versions != told[0] for versions in told):
        raise RuntimeError(f"peers tell of versions: {told or 'none'}")
    return told[0]


def in_turns(contestants: Sequence[Contestant], turns: int, what: str) -> dict[str, list[Answer]]:
    """`turns` steps of each; who begins moves on by one from turn to turn.

    They get ready at the same time, which is not measured. what: by which progress is told. Raises
    OutOfTurn where one has not waited for its turns.
    """
    with ExitStack() as open_ones:
        for contestant in contestants:
            open_ones.enter_context(contestant)
        for contestant in contestants:
            contestant.answer()
        steps = Steps(what, turns)
        done: dict[str, list[Answer]] = {c.name: [] for c in contestants}
        for turn in range(turns):
            first = turn % len(contestants)
            for contestant in [*contestants[first:], *contestants[:first]]:
                done[contestant.name].append(contestant.turn())
            steps.done()
    _require_idle(done)
    return done


def _require_idle(done: Mapping[str, Sequence[Answer]]) -> None:
    for name, answers in done.items():
        waited, cpu = _waits(answers)
        if cpu > MOST_WAITING * waited + UNCERTAIN:
            raise OutOfTurn(f"{name} took {cpu / waited:.2f} cores while it waited for its turn")


def _waits(answers: Sequence[Answer]) -> tuple[float, float]:
    """Seconds that it waited, and CPU seconds that it took in them."""
    return (
        sum(a.get("waited", 0.0) for a in answers),
        sum(a.get("waitedCpu", 0.0) for a in answers),
    )
