"""Starting `acereason run` from a benchmark, and reading what came out of it."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from acereason_operator.api.status import RunStatus, StageStatus
from acereason_trainer.evaluation.results import RESULTS_FILE, EvaluationResult, read_results
from acereason_trainer.telemetry.recorder import read_metrics


def acereason_run(file: Path, store: Path, *options: str, log: Path) -> float:
    """Carry a run out; returns its wall-clock seconds. Raises where it does not end with 0."""
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "acereason_operator.cli.main", "run", str(file)]
    began = time.monotonic()
    with log.open("wb") as out:
        subprocess.run(
            [*command, "--store", str(store), *options], check=True, stdout=out, stderr=out
        )
    return time.monotonic() - began


def stages(store: Path, run: str) -> dict[str, StageStatus]:
    """The stages of a run by name."""
    status = RunStatus.parse_json((store / "runs" / run / "status.json").read_bytes())
    return {stage.name: stage for stage in status.stages}


def artifact(store: Path, stage: StageStatus) -> Path:
    """Directory of a finished stage's result."""
    if stage.artifact is None:
        raise ValueError(f"stage {stage.name} has no artifact: {stage.message}")
    return store / stage.artifact.uri


def results(store: Path, stage: StageStatus) -> EvaluationResult:
    """What an evaluate stage measured."""
    return read_results(artifact(store, stage) / RESULTS_FILE)


def accuracies(store: Path, stage: StageStatus) -> dict[str, dict[str, Any]]:
    """Accuracy in percent with its standard error, problems and samples, by set."""
    return {
        s.name: {
            "accuracy": round(100 * s.accuracy, 2),
            "standardError": round(100 * (s.standard_error or 0.0), 2),
            "problems": s.problems,
            "samples": s.samples,
        }
        for s in results(store, stage).sets
    }


def step_seconds(store: Path, stage: StageStatus) -> list[float]:
    """Wall-clock seconds of each step of a training stage."""
    rows = read_metrics(artifact(store, stage) / "metrics.jsonl")
    return [float(row["step_seconds"] or 0.0) for row in rows]
