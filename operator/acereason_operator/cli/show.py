"""How a run goes, while it goes: bars on a terminal, lines in a log, JSON for programs."""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol, Self

from acereason_trainer.config.stage_file import Progress
from tqdm import tqdm

from acereason_operator.api.status import RunStatus, StageStatus
from acereason_operator.cli.output_gone import may_be_gone
from acereason_operator.cli.tables import duration, time_taken
from acereason_operator.local.run import Audience
from acereason_operator.planner.actions import RecordEvent
from acereason_operator.planner.observed import Observed
from acereason_operator.planner.stages import DONE

LINE_EVERY = 10.0
"""Seconds between two lines about the progress of one stage."""
JSON_EVERY = 1.0
"""The same for programs."""
BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {unit}{postfix}"
METRICS = ("loss", "reward", "accuracy", "entropy", "response_tokens", "rows_kept")
"""Metrics beside the step, as far as a stage has them."""


class Show(Audience, Protocol):
    """An audience that may have to clean up."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


class WhileItLasts:
    """Shows a run for as long as its output is there; falls silent where that goes away."""

    def __init__(self, show: Show) -> None:
        self._show = show

    def __enter__(self) -> Self:
        with may_be_gone():
            self._show.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        with may_be_gone():
            self._show.__exit__(*error)

    def told(self, event: RecordEvent) -> None:
        """See Audience."""
        with may_be_gone():
            self._show.told(event)

    def shown(
        self, status: RunStatus, observed: Observed, waiting_for_cores: Mapping[str, float]
    ) -> None:
        """See Audience."""
        with may_be_gone():
            self._show.shown(status, observed, waiting_for_cores)


class Changes:
    """What is new since it was last asked for."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._states: dict[str, str] = {}
        self._said: dict[str, tuple[float, Progress]] = {}

    def of_states(
        self, status: RunStatus, waiting: Mapping[str, float]
    ) -> Iterator[tuple[StageStatus, str]]:
        """Stages whose state is another one; of those that were done before, nothing is said."""
        first = not self._states
        for stage in status.stages:
            state = stage.state
            cores = waiting.get(stage.name)
            text = state if cores is None else waiting_text(cores)
            known = self._states.get(stage.name, "Waiting")
            if text != known and not (first and state in DONE):
                yield stage, text
            self._states[stage.name] = text

    def of_progress(self, observed: Observed) -> Iterator[tuple[str, Progress]]:
        """Running stages whose step is another one, each now and then."""
        for name, progress in running(observed).items():
            at, before = self._said.get(name, (float("-inf"), None))
            if progress != before and time.monotonic() - at >= self._every:
                self._said[name] = (time.monotonic(), progress)
                yield name, progress


class Lines:
    """Plain lines on stderr: every change of a state, and progress now and then."""

    def __init__(self) -> None:
        self._changes = Changes(LINE_EVERY)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is open."""

    def told(self, event: RecordEvent) -> None:
        """See Audience."""
        if event.type == "Warning" and event.reason not in SAID_AT_THE_END:
            _print_line(event.message)

    def shown(
        self, status: RunStatus, observed: Observed, waiting_for_cores: Mapping[str, float]
    ) -> None:
        """See Audience."""
        for stage, state in self._changes.of_states(status, waiting_for_cores):
            _print_line(stage_line(stage, state))
        for name, progress in self._changes.of_progress(observed):
            _print_line(f"{name}: {progress_text(progress)}")


class Bars:
    """One bar for each running stage, and lines above them when a state changes."""

    def __init__(self) -> None:
        # Its thread would only guard against bars that nobody moves.
        tqdm.monitor_interval = 0
        self._changes = Changes(LINE_EVERY)
        self._bars: dict[str, tqdm[Any]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the terminal as it was."""
        for bar in self._bars.values():
            bar.close()

    def told(self, event: RecordEvent) -> None:
        """See Audience."""
        if event.type == "Warning" and event.reason not in SAID_AT_THE_END:
            tqdm.write(event.message, file=sys.stderr)

    def shown(
        self, status: RunStatus, observed: Observed, waiting_for_cores: Mapping[str, float]
    ) -> None:
        """See Audience."""
        alive = running(observed)
        for name in self._bars.keys() - alive.keys():
            self._bars.pop(name).close()
        for stage, state in self._changes.of_states(status, waiting_for_cores):
            tqdm.write(stage_line(stage, state), file=sys.stderr)
        for name, progress in alive.items():
            self._move(name, progress)

    def _move(self, name: str, progress: Progress) -> None:
        bar = self._bars.get(name)
        if bar is None:
            bar = self._bars[name] = tqdm(
                desc=name, leave=False, dynamic_ncols=True, bar_format=BAR, file=sys.stderr
            )
        bar.n, bar.total, bar.unit = progress.step, progress.total, progress.unit
        bar.set_postfix_str(", ".join(details(progress)), refresh=False)
        bar.refresh()


class JsonLines:
    """One JSON object a line on stdout: changes of state, progress, events, the end."""

    def __init__(self) -> None:
        self._changes = Changes(JSON_EVERY)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is open."""

    def told(self, event: RecordEvent) -> None:
        """See Audience."""
        _print_json(event="message", type=event.type, reason=event.reason, message=event.message)

    def shown(
        self, status: RunStatus, observed: Observed, waiting_for_cores: Mapping[str, float]
    ) -> None:
        """See Audience."""
        for stage, state in self._changes.of_states(status, waiting_for_cores):
            waits = {"message": state} if stage.name in waiting_for_cores else {}
            _print_json(
                event="stage",
                stage=stage.name,
                state=stage.state,
                attempt=stage.attempts,
                **({"message": stage.message} | waits),
            )
        for name, progress in self._changes.of_progress(observed):
            _print_json(event="progress", stage=name, **progress.dump())

    @staticmethod
    def last(exit_code: int, status: RunStatus, results: list[dict[str, Any]]) -> None:
        """The final line."""
        _print_json(
            event="end",
            exitCode=exit_code,
            results=results,
            status=status.dump(),
        )


SAID_AT_THE_END = ("StageFailed", "RunFailed")
"""Reasons of events whose sentences close the output."""


def running(observed: Observed) -> dict[str, Progress]:
    """Newest progress of each stage that runs."""
    return {
        job.stage: job.progress
        for job in observed.jobs
        if not job.finished and job.progress is not None
    }


def stage_line(stage: StageStatus, state: str) -> str:
    """`sft: Complete in 2m10s`."""
    took = time_taken(stage)
    attempt = f" (attempt {stage.attempts})" if stage.attempts > 1 and state == "Running" else ""
    why = f" ({stage.message})" if stage.message and state == "Reused" else ""
    return f"{stage.name}: {state}{f' in {took}' if took else ''}{attempt}{why}"


def waiting_text(cores: float) -> str:
    """`waits for 2 free cores`."""
    return f"waits for {cores:g} free core{'s' if cores > 1 else ''}"


def progress_text(progress: Progress) -> str:
    """`12/20 steps, 0.93/s, 9s left, reward 0.61`."""
    of = f"/{progress.total}" if progress.total is not None else ""
    return ", ".join([f"{progress.step}{of} {progress.unit}", *details(progress)])


def details(progress: Progress) -> Iterator[str]:
    """Rate, time left, phase and few metrics, as far as they are known."""
    if progress.rate is not None:
        yield f"{progress.rate:.3g}/s"
    if progress.seconds_left is not None:
        yield f"{duration(progress.seconds_left)} left"
    if progress.phase:
        yield progress.phase
    yield from (
        f"{name} {progress.metrics[name]:.3g}" for name in METRICS if name in progress.metrics
    )


def _print_line(line: str) -> None:
    print(f"{datetime.now():%H:%M:%S} {line}", file=sys.stderr, flush=True)


def _print_json(**row: Any) -> None:
    row = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **row}
    print(json.dumps(row, ensure_ascii=False), flush=True)
