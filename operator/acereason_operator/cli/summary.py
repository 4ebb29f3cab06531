"""What a run came to: one row per stage, and a sentence for each that failed."""

from pathlib import Path
from typing import Any

from acereason_trainer.artifacts.errors import Corrupt, NotFound
from acereason_trainer.artifacts.store import DirectoryStore

from acereason_operator.api.run import AceReasonRun
from acereason_operator.api.status import RunStatus, StageStatus
from acereason_operator.cli.tables import state_and_message, steps, table, time_taken


def summary(store: Path, run: AceReasonRun, status: RunStatus) -> str:
    """The table of a run: stage, state, steps, time, result."""
    metrics = {s.name: _metrics(store, s) for s in status.stages}
    samples = {s.name: _samples(s.name, run) for s in status.stages}
    rows = [
        (
            s.name,
            state_and_message(s)[0],
            steps(s),
            time_taken(s),
            _result(metrics[s.name], samples[s.name]),
        )
        for s in status.stages
    ]
    return table(("STAGE", "STATE", "STEPS", "TIME", "RESULT"), rows)


def results(store: Path, run: AceReasonRun, status: RunStatus) -> list[dict[str, Any]]:
    """The same for programs."""
    return [
        {
            "stage": s.name,
            "state": s.state,
            "key": s.key,
            "artifact": s.artifact.dump() if s.artifact else None,
            "metrics": _metrics(store, s),
            "samples": _samples(s.name, run),
        }
        for s in status.stages
    ]


def failures(status: RunStatus) -> list[str]:
    """One sentence for each failed stage: why, where its log is, what to do."""
    return [s.message for s in status.stages if s.state == "Failed"]


def _metrics(store: Path, stage: StageStatus) -> dict[str, float]:
    """Metrics of the stage's artifact; else its last ones."""
    if stage.artifact is None:
        return stage.metrics
    try:
        return DirectoryStore(store).manifest(stage.artifact.uri).metrics
    except (Corrupt, NotFound):
        return stage.metrics


def _samples(name: str, run: AceReasonRun) -> dict[str, int]:
    """k of avg@k by set, for an evaluate stage."""
    evaluate = next((s.evaluate for s in run.spec.stages if s.name == name), None)
    return {s.name: s.samples for s in evaluate.sets} if evaluate else {}


def _result(metrics: dict[str, float], samples: dict[str, int]) -> str:
    """`math avg@4 61.2 ± 2.9 (n=240)`, or the few metrics that say most."""
    if samples:
        return "  ".join(
            _accuracy(name, k, metrics)
            for name, k in samples.items()
            if f"accuracy/{name}" in metrics
        )
    shown = ("rows_kept", "rows", "loss", "reward", "temperature")
    return ", ".join(f"{name} {metrics[name]:.4g}" for name in shown if name in metrics)


def _accuracy(name: str, k: int, metrics: dict[str, float]) -> str:
    error = metrics.get(f"standardError/{name}")
    spread = "" if error is None else f" ± {100 * error:.1f}"
    n = metrics.get(f"problems/{name}")
    return f"{name} avg@{k} {100 * metrics[f'accuracy/{name}']:.1f}{spread}" + (
        "" if n is None else f" (n={n:.0f})"
    )
