"""A stage in a process of its own, for the metrics of its steps."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acereason_trainer.artifacts.store import DirectoryStore
from acereason_trainer.telemetry.recorder import read_metrics

from benchmarks.stage_files import begun_anew, stage_file
from benchmarks.trainer_models import BUILD, environment

Row = Mapping[str, Any]


def metric(row: Row, name: str) -> float:
    """Of a step that must have it. Raises RuntimeError where it has not: a metric that the product
    calls otherwise by now is no 0."""
    if (value := row.get(name)) is None:
        raise RuntimeError(f"step {row.get('step')} of a stage tells no {name}")
    return float(value)


def curves_of(
    settings: Mapping[str, Any],
    name: str,
    model: Path,
    data: Path,
    store: Path,
    program: Sequence[str] = ("acereason_trainer",),
) -> Sequence[Row]:
    """Metrics of every step. store: one of its own, removed by the caller. program: module and
    first arguments of what carries out a stage file. Raises RuntimeError with its log's end where
    the stage ends badly."""
    file = stage_file(store, settings, name=name, model=model, data=data)
    log = BUILD / "logs" / f"stage-{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", *program, str(begun_anew(file))]
    with log.open("wb") as out:
        done = subprocess.run(command, check=False, env=environment(), stdout=out, stderr=out)
    if done.returncode:
        end = log.read_text(errors="replace")[-1500:]
        raise RuntimeError(
            f"stage {name} ended with {done.returncode} (all of its log: {log}):\n{end}"
        )
    assert file.prepared is not None
    shelves = DirectoryStore(Path(file.store))
    published = shelves.lookup(file.prepared.key)
    assert published is not None
    return read_metrics(shelves.directory(published.uri) / "metrics.jsonl")
