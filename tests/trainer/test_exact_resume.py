"""A stopped or killed stage, gone on with, ends with the same bits as one that was left alone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from acereason_trainer.__main__ import carry_out
from acereason_trainer.artifacts.states import newest_state
from acereason_trainer.artifacts.store import DirectoryStore
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.stage_file import StageFile
from acereason_trainer.stage import StageContext, StopFlag
from acereason_trainer.telemetry.metrics import is_timing
from acereason_trainer.telemetry.recorder import read_metrics

KEY = "test-00000000000000000000000000000000"
SFT = {
    "sft": {
        "optimizer": {"learningRate": 1e-3, "finalFraction": 0.1},
        "budget": {"steps": 6},
        "rowTokens": 256,
        "rowsPerStep": 2,
        "tokensPerMicroBatch": 256,
        "prompting": {"template": "plain"},
        "loading": {"dtype": "float32"},
        "saving": {"minutesAtRisk": 0},
    }
}
RL = {
    "mathRL": {
        "optimizer": {"learningRate": 1e-3},
        "promptsPerStep": 3,
        "groupSize": {"fixed": 4},
        "maxResponseTokens": 24,
        "temperature": {"targetEntropy": {"candidates": [0.9, 1.0], "prompts": 2, "samples": 2}},
        "stop": {"steps": 4},
        "overlong": {"mode": "mask"},
        "sequencesPerBatch": 4,
        "reward": {"function": "tests.trainer.letters:has_an_early_letter"},
        "validation": {"everySteps": 2, "samples": 2, "maxProblems": 2},
        "prompting": {"template": "plain"},
        "loading": {"dtype": "float32"},
        "saving": {"minutesAtRisk": 0},
        "verifier": {"workers": 1},
    }
}


SCHEDULES = {
    "mathRL": {
        **RL["mathRL"],
        "temperature": {"perEpoch": [1.0, 1.2]},
        "groupSize": {"perEpoch": [4, 2]},
        "promptsPerStep": 20,
        "dropSolved": "perEpoch",
        "stop": {"plateau": {"patience": 2, "maxSteps": 3}},
        "validation": {"everySteps": 1, "samples": 1, "maxProblems": 4},
        "loading": {"dtype": "bfloat16"},
        "sequencesPerBatch": 40,
    }
}


def a_stage(store: Path, tiny_model: Path, settings: dict[str, Any], run: str) -> dict[str, Any]:
    """A stage file with its inputs imported, ready for attempt 1."""
    rows = [
        {"problem": f"How much is {n} + {n}?", "answer": str(2 * n), "response": f"{n}+{n} " * 3}
        for n in range(40)
    ]
    data = store / "rows.jsonl"
    store.mkdir(exist_ok=True)
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shelves = DirectoryStore(store)
    model, dataset = shelves.import_path(tiny_model, "model"), shelves.import_path(data, "data")
    inputs = {"model": model.dump(), "data": dataset.dump()}
    if "mathRL" in settings:
        inputs["validation"] = dataset.dump()
    return {
        "run": run,
        "stage": "train",
        "attempt": 1,
        "store": str(store),
        "settings": settings,
        "prepared": {"key": KEY, "inputs": inputs},
    }


def next_attempt(stage: dict[str, Any], store: Path) -> dict[str, Any]:
    """The next attempt, going on from the newest good state, as `prepare` would choose it."""
    state = newest_state(store, stage["run"], "train", key=KEY, salt=0)
    prepared = {**stage["prepared"], "resume": state.dump() if state else None}
    prepared = {k: v for k, v in prepared.items() if v is not None}
    return {**stage, "attempt": stage["attempt"] + 1, "prepared": prepared}


def write(stage: dict[str, Any]) -> Path:
    """stage.yaml of an attempt, in its directory."""
    file = StageFile.parse(stage)
    work_dir = Path(file.store) / file.work_dir
    work_dir.mkdir(parents=True)
    (work_dir / "stage.yaml").write_text(yaml.safe_dump(stage))
    return work_dir / "stage.yaml"


@pytest.fixture(autouse=True)
def rewards_are_importable(monkeypatch: pytest.MonkeyPatch):
    root = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", root)
    monkeypatch.syspath_prepend(root)


class StopsAtTheNthLook(StopFlag):
    """A SIGTERM that arrives at a chosen moment."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._looks = looks

    def check(self) -> None:
        self._looks -= 1
        if self._looks < 0:
            self._event.set()
        super().check()


def attempt(stage: dict[str, Any], stop: StopFlag) -> int:
    path = write(stage)
    file = StageFile.parse(stage)
    assert file.prepared is not None
    return carry_out(
        StageContext(
            file=file,
            prepared=file.prepared,
            store=Path(file.store),
            work_dir=path.parent,
            stop=stop,
        )
    )


def outcome(store: Path) -> tuple[str, list[dict[str, Any]]]:
    """Digest of the published weights, and the curves without what measures time."""
    published = DirectoryStore(store).lookup(KEY)
    assert published is not None
    curves = read_metrics(store / published.uri / "metrics.jsonl")
    return published.digest, [{k: v for k, v in r.items() if not is_timing(k)} for r in curves]


def straight(tmp: Path, tiny_model: Path, settings: dict[str, Any]) -> tuple[str, list[Any]]:
    store = tmp / "straight"
    assert attempt(a_stage(store, tiny_model, settings, "straight"), StopFlag()) == ExitCode.DONE
    return outcome(store)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "every"),
    [(SFT, 7), (RL, 60), (SCHEDULES, 150)],
    ids=["sft", "rl", "rl with schedules"],
)
def test_a_stage_stopped_again_and_again_ends_with_the_same_bits(
    tmp_path: Path, tiny_model: Path, settings: dict[str, Any], every: int
):
    """Costs about 20 s for each RL case: every attempt loads the model and starts a verifier."""
    codes = []
    store = tmp_path / "stopped"
    stage = a_stage(store, tiny_model, settings, "another-name")
    while not codes or codes[-1] == ExitCode.STOPPED:
        codes.append(attempt(stage, StopsAtTheNthLook(every)))
        stage = next_attempt(stage, store)
    assert codes[-1] == ExitCode.DONE
    assert codes.count(ExitCode.STOPPED) >= 2, "the test needs stops in the middle"
    assert outcome(store) == straight(tmp_path, tiny_model, settings)


@pytest.mark.slow
def test_an_rl_stage_told_to_stop_and_then_killed_ends_with_the_same_bits(
    tmp_path: Path, tiny_model: Path
):
    """Costs about 30 s: three real processes that import torch."""
    store = tmp_path / "killed"
    stage = a_stage(store, tiny_model, RL, "killed")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    for step, number, code in ((1, signal.SIGTERM, ExitCode.STOPPED), (3, signal.SIGKILL, -9)):
        path = write(stage)
        rank = subprocess.Popen(
            [sys.executable, "-m", "acereason_trainer", str(path)], env=environment
        )
        wait_for_step(path.parent / "progress.json", step, rank)
        rank.send_signal(number)
        assert rank.wait() == code
        stage = next_attempt(stage, store)
        assert stage["prepared"]["resume"]["step"] >= step
    path = write(stage)
    command = [sys.executable, "-m", "acereason_trainer", str(path)]
    assert subprocess.run(command, env=environment, check=False).returncode == ExitCode.DONE
    assert outcome(store) == straight(tmp_path, tiny_model, RL)


def wait_for_step(progress: Path, step: int, rank: "subprocess.Popen[bytes]") -> None:
    """Return once the running rank has completed a step and saved it."""
    while rank.poll() is None:
        if progress.exists():
            seen = json.loads(progress.read_text())
            if seen["step"] > step or (seen["step"] == step and seen["phase"] == "generate"):
                return
        time.sleep(0.01)
    raise AssertionError(f"the rank ended by itself with {rank.returncode}")
