"""How a run goes, while it goes: bars on a terminal, lines in a log, JSON for programs."""

import json
import sys
import time
from collections.abc import Mapping
from typing import Any, Self

from acereason_trainer.config.stage_file import Progress
from tqdm import tqdm

from acereason_operator.api.status import RunStatus, StageStatus
from acereason_operator.cli.tables import duration, time_taken
from acereason_operator.planner.actions import RecordEvent
from acereason_operator.planner.observed import Observed

LINE_EVERY = 10.0
"""Seconds between two lines about the progress of one stage."""
SHOWN = ("reward", "accuracy", "loss", "entropy", "response_tokens", "rows_kept")
"""Metrics beside the step, as far as a stage has them."""


class Lines:
    """Plain lines on stderr: every change of a state, and progress now and then."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}
        self._said: dict[str, tuple[float, int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is open."""

    def told(self, event: RecordEvent) -> None:
        """Warnings are worth a line; the rest shows in the states."""
        if event.type == "Warning":
            self.say(event.message)

    def shown(
        self, status: RunStatus, observed: Observed, waiting_for_cores: Mapping[str, float]
    ) -> None:
        """Say what changed."""
        for stage in status.stages:
            state = "waiting for cores" if stage.name in waiting_for_cores else stage.state
            if state != self._states.get(stage.name, "Waiting"):
                self.say(stage_line(stage, state))
            self._states[stage.name] = state
        for stage, progress in running(status, observed):
            at, step = self._said.get(stage.name, (0.0, -1))
            if progress.step != step and time.monotonic() - at >= LINE_EVERY:
                self._said[stage.name] = (time.monotonic(), progress.step)
                self.say(f"{stage.name}: {progress_text(progress)}")

    def say(self, line: str) -> None:
        """One line, at once."""
        print(line, file=sys.stderr, flush=True)


class Bars(Lines):
    """One bar for each running stage, and lines above them when a state changes."""

    def __init__(self) -> None:
        super().__init__()
        self._bars: dict[str, tqdm[Any]] = {}

    def __exit__(self, *error: object) -> None:
        """Leave the terminal as it was."""
        for bar in self._bars.values():
            bar.close()

    def shown(
        self, status: RunStatus, observed: Observed, waiting_for_cores: Mapping[str, float]
    ) -> None:
        """Move the bars."""
        alive = {stage.name: progress for stage, progress in running(status, observed)}
        for name in self._bars.keys() - alive.keys():
            self._bars.pop(name).close()
        self._said = {name: (time.monotonic(), p.step) for name, p in alive.items()}
        super().shown(status, observed, waiting_for_cores)
        for name, progress in alive.items():
            if name not in self._bars:
                self._bars[name] = tqdm(
                    total=progress.total,
                    unit=f" {progress.unit}",
                    desc=name,
                    leave=False,
                    dynamic_ncols=True,
                    bar_format="{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}",
                )
            bar = self._bars[name]
            bar.n = progress.step
            bar.total = progress.total
            bar.set_postfix_str(rest_of(progress), refresh=False)
            bar.refresh()

    def say(self, line: str) -> None:
        """One line above the bars."""
        tqdm.write(line, file=sys.stderr)


class JsonLines:
    """One JSON object a line on stdout: every change of a stage, every event."""

    def __init__(self) -> None:
        self._last: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is open."""

    def told(self, event: RecordEvent) -> None:
        """Write an event."""
        self._write({"event": event.type, "reason": event.reason, "message": event.message})

    def shown(
        self, status: RunStatus, observed: Observed, waiting_for_cores: Mapping[str, float]
    ) -> None:
        """Write what changed."""
        for stage in status.stages:
            now = {"stage": stage.name, "state": stage.state, "step": stage.step}
            if now != self._last.get(stage.name):
                self._last[stage.name] = now
                self._write({"event": "stage", **now, "attempt": stage.attempts})

    @staticmethod
    def last(status: RunStatus, results: list[dict[str, Any]], report: object) -> None:
        """The final line."""
        JsonLines._write(
            {
                "event": "end",
                "status": status.dump(),
                "results": results,
                "report": None if report is None else str(report),
            }
        )

    @staticmethod
    def _write(row: dict[str, Any]) -> None:
        print(json.dumps(row), flush=True)


def running(status: RunStatus, observed: Observed) -> list[tuple[StageStatus, Progress]]:
    """Stages that run, with their newest progress."""
    stages = {s.name: s for s in status.stages}
    return [
        (stages[job.stage], job.progress)
        for job in observed.jobs
        if not job.finished and job.progress is not None and job.stage in stages
    ]


def stage_line(stage: StageStatus, state: str) -> str:
    """`sft: Complete in 2m10s`."""
    took = f" in {time_taken(stage)}" if stage.finished_at and time_taken(stage) else ""
    why = f" ({stage.message})" if stage.message and state not in ("Complete", "Running") else ""
    return f"{stage.name}: {state}{took}{why}"


def progress_text(progress: Progress) -> str:
    """`step 12/20, 0.93/s, 9s left, reward 0.61`."""
    of = f"/{progress.total}" if progress.total else ""
    return f"{progress.step}{of} {progress.unit}{rest_of(progress)}"


def rest_of(progress: Progress) -> str:
    """Rate, time left and few metrics, as far as they are known."""
    parts = []
    if progress.rate is not None:
        parts.append(f"{progress.rate:.3g}/s")
    if progress.seconds_left is not None:
        parts.append(f"{duration(progress.seconds_left)} left")
    parts += [f"{name} {progress.metrics[name]:.3g}" for name in SHOWN if name in progress.metrics]
    return "".join(f", {part}" for part in parts)
