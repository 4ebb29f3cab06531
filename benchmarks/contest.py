"""The driver's end of peers/turns.py: contestants as processes that step one after the other."""

import json
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.process_tree import cpu_seconds, peak_mib
from benchmarks.progress import Steps

Answer = dict[str, Any]
PATIENCE = 1200.0
"""Seconds for a step, or for getting ready while others do: far more than any takes. A contestant
that hangs is to end its part and not the whole benchmark."""


class Contestant:
    """A process that makes one step when it is told to."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, env: Mapping[str, str]
    ) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.name = name
        self._log = log
        self._waits_since: tuple[float, float] | None = None
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=out,
                env=dict(env),
                text=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it is gone already, and did not read what was said last
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def answer(self) -> Answer:
        """The next line of the process. Raises RuntimeError with its log's end where it is gone, or
        says nothing for PATIENCE seconds."""
        assert self._process.stdout is not None
        speaks, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        line = self._process.stdout.readline() if speaks else ""
        if not line:
            what = self._end() if speaks else f"said nothing for {PATIENCE:g} s"
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
        it took before, while it waited: `waited` seconds and `waitedCpu` of them."""
        assert self._process.stdin is not None
        waited = self._waited()
        began = time.monotonic()
        with suppress(BrokenPipeError):  # it died after its last turn: its answer says so
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        answer = self.answer()
        seconds = time.monotonic() - began
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
    return {
        name: {
            "waitingCores": round(
                sum(a.get("waitedCpu", 0.0) for a in answers)
                / max(sum(a.get("waited", 0.0) for a in answers), 1e-9),
                4,
            ),
            "peakMib": round(max(a.get("peakMib", 0.0) for a in answers)),
        }
        for name, answers in done.items()
    }


def in_turns(contestants: Sequence[Contestant], turns: int, what: str) -> dict[str, list[Answer]]:
    """`turns` steps of each; who begins moves on by one from turn to turn.

    They get ready at the same time, which is not measured. what: by which progress is told.
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
        return done
