"""What a running stage writes down: metrics.jsonl, progress.json, gauges, rollout dumps, its log.

One recorder per attempt writes, on rank 0. The stage loop says what it is doing (`phase`) and what
came out of a step (`record`); where that goes is decided here. metrics.jsonl of a resumed attempt
holds the rows of the steps before it too, so that the last attempt's file is the stage's whole
curve.
"""

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Self

from acereason_trainer.artifacts.errors import told_when_full
from acereason_trainer.config.common import Telemetry
from acereason_trainer.config.stage_file import Progress
from acereason_trainer.rewards.protocol import Grade
from acereason_trainer.rollout.protocol import Completion
from acereason_trainer.telemetry.exporters import Exporter, exporters
from acereason_trainer.telemetry.log_line import say
from acereason_trainer.telemetry.metrics import AROUND, HEADLINES, METRICS, PHASES
from acereason_trainer.telemetry.speed import Work, speed_of

MetricsRow = dict[str, float | None]
SECONDS_BETWEEN_LINES = 10.0
"""Between two lines of a rank's log; the first and the last step have one in any case."""
SECONDS_BETWEEN_LOOKS = 1.0
"""At most so often progress.json is written anew for what a step is made of."""


class Recorder:
    """Writes an attempt's curves and progress into its directory."""

    def __init__(
        self,
        work_dir: Path,
        *,
        total: int | None,
        unit: str,
        settings: Telemetry,
        key: str,
        leads: bool = True,
    ) -> None:
        """leads: whether this rank writes; the others know where the stage is, and no more."""
        self._dir = work_dir
        self._leads = leads
        self._total = total
        self._unit = unit
        self._settings = settings
        self._key = key
        self._rows: list[MetricsRow] = []
        self._latest: MetricsRow = {}
        self._step = 0
        self._reached = 0
        self._first_step = 0.0
        self._phase = "load"
        self._seconds: dict[str, float] = {}
        self._started = self._last_record = time.monotonic()
        self._said_at = self._shown_at = -math.inf
        self._file: IO[str] | None = None
        self._exporters: Sequence[Exporter] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def start(self, step: int = 0, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        """Begin, or go on, after `step` completed steps whose rows are given (as `rows` had them).

        Rows of later steps are dropped: those steps are done again. Raises StoreFull, as all that
        writes here does.
        """
        self._step = self._first_step = step
        if not self._leads:
            return
        self._rows = [dict(r) for r in rows if r["step"] <= step]
        with told_when_full(self.path):
            self._dir.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("w", encoding="utf-8")
        for row in self._rows:
            self._append(row)
            self._latest = row
        self._exporters = exporters(self._settings, self._dir, self._key, step)
        self._started = self._last_record = time.monotonic()
        self._write_progress()

    @property
    def path(self) -> Path:
        """metrics.jsonl of this attempt: one row per step, and one of the end where that was
        measured; published as a record file."""
        return self._dir / "metrics.jsonl"

    @property
    def rows(self) -> list[MetricsRow]:
        """All rows so far, to be kept in a resume state and given to `start`."""
        return self._rows

    @property
    def step(self) -> int:
        """Completed steps."""
        return self._step

    def expect(self, total: int) -> None:
        """The number of steps in all, where it is known only now: those before it were of another
        kind, and say nothing of how long these take."""
        self._total = total
        self._first_step, self._started = self._step, time.monotonic()

    def recalled(self, steps: float) -> None:
        """So many of the steps to come were done before this attempt: they take no time now, and
        say nothing of how long the others take."""
        self._first_step += steps

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the seconds of a phase of the open step, and show it in progress.json."""
        if name not in PHASES | AROUND:
            raise ValueError(f"phase {name} is not in telemetry/metrics.py; add it to PHASES")
        outer, began = self._phase, time.monotonic()
        self.heartbeat(name)
        try:
            yield
        finally:
            spent = self._seconds.get(f"{name}_seconds", 0.0) + time.monotonic() - began
            self._seconds[f"{name}_seconds"] = spent
            self._phase = outer

    def heartbeat(self, phase: str | None = None) -> None:
        """Show that the open step is alive (progress.json's time), and in which phase."""
        self._phase = phase or self._phase
        self._write_progress()

    def reached(self, step: int) -> None:
        """So many steps are done, of which no row tells yet: where the work stands. May be called
        as often as one likes."""
        self._reached = max(self._reached, step)
        if time.monotonic() - self._shown_at >= SECONDS_BETWEEN_LOOKS:
            self._say(self._write_progress())

    def record(self, step: int, metrics: Mapping[str, float], work: Work | None = None) -> None:
        """A step is complete: its metrics, with the seconds of its phases, become a row.

        work: what the devices did, where that says something about their use.
        """
        _require_known(metrics)
        if not self._leads:
            self._step, self._seconds = step, {}
            return
        now = time.monotonic()
        timings = {**self._seconds, "step_seconds": now - self._last_record}
        self._last_record, self._seconds, self._step = now, {}, step
        row: MetricsRow = {"step": step}
        row |= {name: _finite(value) for name, value in metrics.items()}
        row |= {name: round(value, 6) for name, value in timings.items()}
        row |= {} if work is None else speed_of(work, timings)
        self._latest = row
        self._add(row)
        self._say(self._write_progress(), at_once=step == self._total)

    def record_end(self, metrics: Mapping[str, float]) -> None:
        """What was measured of the weights that the last step led to: a row as of a next step,
        which is not taken, with nothing else in it. Who goes on from a state measures again."""
        _require_known(metrics)
        if not self._leads:
            return
        row: MetricsRow = {"step": self._step + 1}
        row |= {name: _finite(value) for name, value in metrics.items()}
        self._latest = self._latest | row
        self._add(row)
        self._write_progress()

    def dump_rollouts(self, step: int, rollouts: Iterable[tuple[Completion, Grade]]) -> None:
        """Write a step's rollouts for a human to read, where the settings ask for this step.

        rollouts/step-<n>.jsonl: prompt id, sample, text, verdict, reward, detail, finish, token
        ids, logprobs; one line per response. Where several ranks measure a model, it holds what the
        first one drew.
        """
        every = self._settings.dump_rollouts_every
        if not self._leads or every == 0 or step % every != 0:
            return
        path = self._dir / "rollouts" / f"step-{step:06d}.jsonl"
        with told_when_full(path):
            path.parent.mkdir(exist_ok=True)
            with path.open("w", encoding="utf-8") as out:
                for completion, grade in rollouts:
                    json.dump(_rollout_row(completion, grade), out, ensure_ascii=False)
                    out.write("\n")

    def close(self) -> None:
        """End the gauges' server and close files."""
        for exporter in self._exporters:
            exporter.close()
        self._exporters = ()
        if self._file is not None:
            file, self._file = self._file, None
            with told_when_full(self.path):  # a row that found no room is tried once more
                file.close()

    def _say(self, progress: Progress, *, at_once: bool = False) -> None:
        """A line of the log, where it is time for one."""
        now = time.monotonic()
        if self._leads and (at_once or now - self._said_at >= SECONDS_BETWEEN_LINES):
            self._said_at = now
            say(_progress_line(progress))

    def _add(self, row: MetricsRow) -> None:
        self._rows.append(row)
        self._append(row)
        for exporter in self._exporters:
            exporter.export(self._step, self._total, row)

    def _append(self, row: MetricsRow) -> None:
        if self._file is None:
            raise RuntimeError("record() before start()")
        with told_when_full(self.path):
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()

    def _write_progress(self) -> Progress:
        self._shown_at = time.monotonic()
        elapsed = self._shown_at - self._started
        step = max(self._step, self._reached)
        done = step - self._first_step
        rate = done / elapsed if done and elapsed > 0 else None
        left = (self._total - step) / rate if rate and self._total is not None else None
        progress = Progress(
            step=step,
            total=self._total,
            unit=self._unit,
            phase=self._phase,
            seconds_left=None if left is None else round(max(left, 0.0), 1),
            rate=None if rate is None else float(f"{rate:.4g}"),
            metrics={
                k: float(f"{v:.4g}")
                for k, v in self._latest.items()
                if v is not None and k in HEADLINES
            },
            updated_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )
        if not self._leads:
            return progress
        path, temporary = self._dir / "progress.json", self._dir / ".progress.json.tmp"
        with told_when_full(path):
            temporary.write_text(progress.model_dump_json(by_alias=True, exclude_none=True))
            temporary.replace(path)
        return progress


def read_metrics(path: Path) -> list[MetricsRow]:
    """Rows of a metrics.jsonl; a line that a kill cut short ends it."""
    rows: list[MetricsRow] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def _require_known(metrics: Mapping[str, float]) -> None:
    unknown = sorted(metrics.keys() - METRICS.keys())
    if unknown:
        raise ValueError(
            f"metrics {', '.join(unknown)} are not in telemetry/metrics.py; add them to its table"
        )


def _progress_line(progress: Progress) -> str:
    """`steps 12 of 20, 0.93 steps/s, reward 0.61`."""
    of = f" of {progress.total:,}" if progress.total is not None else ""
    parts = [f"{progress.unit} {progress.step:,}{of}"]
    if progress.rate is not None:
        parts.append(f"{progress.rate:.3g} {progress.unit}/s")
    # In the table's order: what is learned from first, then what came of it.
    parts += [f"{k} {progress.metrics[k]:.3g}" for k in METRICS if k in progress.metrics]
    return ", ".join(parts)


def _finite(value: float) -> float | None:
    """JSON has no NaN: null stands for it."""
    return float(value) if math.isfinite(value) else None


def _rollout_row(completion: Completion, grade: Grade) -> dict[str, Any]:
    return {
        "promptId": completion.request.prompt_id,
        "sample": completion.request.sample,
        "verdict": grade.verdict,
        "reward": grade.reward,
        "detail": grade.detail,
        "finish": completion.finish,
        "text": completion.text,
        "tokens": list(completion.tokens),
        "logprobs": list(completion.logprobs),
    }
