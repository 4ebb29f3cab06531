"""How long a killed stage is gone: from SIGKILL to its first step after the one it had saved.

The launcher is killed with its rank, and started again at once: that is what a pod's restart costs
the trainer, without what a cluster adds (deciding, scheduling, pulling). Most of it is loading
Python's packages; `import torch, transformers` alone is measured beside it. A kill that comes after
a step has drawn finds its rollouts in the journal, and one that comes earlier does not: the journal
is emptied, so that what is measured is the longer of the two, and always the same.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from acereason_trainer.artifacts.states import STATES
from acereason_trainer.rollout.journal import attempt_journal
from acereason_trainer.telemetry.recorder import read_metrics

from benchmarks.intervals import quartiles
from benchmarks.progress import Steps
from benchmarks.stage_files import path_of, stage_file
from benchmarks.trainer_models import BUILD, TINY, environment, stage_settings, start_checkpoint

STEPS = 400
"""More than are ever made."""
PATIENCE = 180.0


def resume_section(kills: int, sft_steps: int | None) -> dict[str, Any]:
    """A math stage of the 0.6M model that saves after every step, killed so many times."""
    store = BUILD / "resume"
    shutil.rmtree(store, ignore_errors=True)
    settings = stage_settings(TINY.example, "math-1")
    settings["mathRL"] |= {"stop": {"steps": STEPS}, "saving": {"minutesAtRisk": 0}}
    file = stage_file(
        store,
        settings,
        name="resume",
        model=start_checkpoint(TINY, sft_steps),
        data=TINY.data / "rl-math.jsonl",
    )
    progress = path_of(file).parent / "progress.json"
    seconds: list[float] = []
    steps: list[dict[str, Any]] = []
    launched = _launched(path_of(file))
    try:
        _wait_beyond(progress, 2)  # the state of an earlier step is written by then
        told = Steps("kills", kills)
        for _ in range(kills):
            _kill(launched)
            progress.unlink()
            forget_rollouts(path_of(file).parent)
            saved = _saved(path_of(file).parent)
            began = time.monotonic()
            launched = _launched(path_of(file))
            reached = _wait_beyond(progress, saved)
            seconds.append(time.monotonic() - began)
            drawing = _drawing_seconds(path_of(file).parent, saved + 1)
            steps.append({"saved": saved, "reached": reached, "generateSeconds": drawing})
            told.done()
    finally:
        _kill(launched)
        shutil.rmtree(store, ignore_errors=True)
    return {
        "kills": kills,
        "secondsToNextStep": quartiles(seconds, 2),
        "generateSeconds": quartiles([step["generateSeconds"] for step in steps], 2),
        "importSeconds": quartiles([_import_seconds() for _ in range(3)], 2),
        "steps": steps,
    }


def _launched(path: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "acereason_trainer.launch", str(path)]
    return subprocess.Popen(
        command,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _kill(launched: "subprocess.Popen[bytes]") -> None:
    """The launcher's death is its rank's, too: the kernel sees to that."""
    if launched.poll() is None:
        os.killpg(launched.pid, signal.SIGKILL)
    launched.wait()


def forget_rollouts(attempt: Path) -> None:
    """Of the step that was not saved any more, so that it draws anew."""
    journal = attempt_journal(attempt)
    # One that never held a batch would mean that rollouts are kept elsewhere by now.
    if not journal.directory.is_dir():
        raise RuntimeError(f"{journal.directory} is not there; where does a stage keep rollouts?")
    journal.forget(journal.batches())


def _drawing_seconds(attempt: Path, step: int) -> float:
    rows = read_metrics(attempt / "metrics.jsonl")
    return float(next(row["generate_seconds"] or 0.0 for row in rows if row["step"] == step))


def _saved(attempt: Path) -> int:
    """The step that a restart goes on from."""
    return max(int(state.name) for state in (attempt / STATES).iterdir() if state.name.isdigit())


def _wait_beyond(progress: Path, step: int) -> int:
    """The step that progress.json shows, once it is above `step`. Raises TimeoutError."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        time.sleep(0.02)
        try:
            seen = int(json.loads(progress.read_text())["step"])
        except (FileNotFoundError, ValueError):
            continue
        if seen > step:
            return seen
    raise TimeoutError(f"{progress} shows no new step after {PATIENCE:g} s")


def _import_seconds() -> float:
    began = time.monotonic()
    work = "import torch, transformers; from transformers import AutoModelForCausalLM"
    subprocess.run([sys.executable, "-c", work], check=True, env=environment())
    return time.monotonic() - began
