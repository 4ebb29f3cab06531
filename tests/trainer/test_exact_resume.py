"""A stopped or killed stage, gone on with, ends with the same bits as one that was left alone."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from acereason_trainer.artifacts.states import newest_state
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.launch.watchdog import read_progress
from acereason_trainer.telemetry.metrics import is_timing
from acereason_trainer.telemetry.recorder import read_metrics

from tests.stage_attempts import (
    StopsAtTheNthLook,
    a_stage,
    attempt,
    begun,
    failure,
    published,
    write_rows,
)
from tests.trainer.letters import HELD, LET_GO
from tests.trainer.taught import BARE, CODE_TESTS
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("importable_rewards")

KEY = "test-00000000000000000000000000000000"
"""Under this one's draws, each case is long enough for the stops it needs."""
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
        "promptsPerStep": 6,
        "dropSolved": "perEpoch",
        "stop": {"plateau": {"patience": 2, "maxSteps": 3}},
        "validation": {"everySteps": 1, "samples": 1, "maxProblems": 4},
        "loading": {"dtype": "bfloat16"},
        "sequencesPerBatch": 12,
    }
}
BUILT_IN = {
    "optimizer": {"learningRate": 1e-3},
    "promptsPerStep": 2,
    "groupSize": {"fixed": 4},
    "maxResponseTokens": 28,
    "temperature": {"fixed": 1.0},
    "stop": {"steps": 3},
    "sequencesPerBatch": 8,
    "prompting": BARE,
    "loading": {"dtype": "float32"},
    "saving": {"minutesAtRisk": 0},
    "verifier": {"workers": 1},
}


def trained(store: Path, tiny_model: Path, settings: dict[str, Any], run: str) -> dict[str, Any]:
    """Attempt 1 of a stage that trains the tiny model."""
    rows = [
        {"problem": f"How much is {n} + {n}?", "answer": str(2 * n), "response": f"{n}+{n} " * 3}
        for n in range(12)  # two steps of SCHEDULES: its third begins an epoch
    ]
    data = write_rows(store / "rows.jsonl", rows)
    validation = {"validation": data} if "mathRL" in settings else {}
    return a_stage(store, settings, run=run, key=KEY, model=tiny_model, data=data, **validation)


def next_attempt(stage: dict[str, Any], store: Path) -> dict[str, Any]:
    """The next attempt, going on from the newest good state, as `prepare` would choose it."""
    state = newest_state(store, stage["run"], stage["stage"], stage["prepared"]["key"], salt=0)
    prepared = {**stage["prepared"], "resume": state.dump() if state else None}
    prepared = {k: v for k, v in prepared.items() if v is not None}
    return {**stage, "attempt": stage["attempt"] + 1, "prepared": prepared}


def outcome(stage: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """Digest of the published weights, and the curves without what measures time."""
    digest, directory = published(stage)
    curves = read_metrics(directory / "metrics.jsonl")
    return digest, [{k: v for k, v in r.items() if not is_timing(k)} for r in curves]


def rewarded(store: Path, model: Path, kind: str, run: str) -> dict[str, Any]:
    """Attempt 1 of an RL stage whose answers a built-in rewarder checks."""
    answers = {"mathRL": {"answer": "1"}, "codeRL": {"tests": CODE_TESTS}}[kind]
    rows = [{"problem": f"{kind[0]}{n}", **answers} for n in range(6)]
    data = write_rows(store / "rows.jsonl", rows)
    return a_stage(store, {kind: BUILT_IN}, run=run, key=KEY, model=model, data=data)


def stopped_again_and_again(stage: dict[str, Any], store: Path, every: int) -> dict[str, Any]:
    """The stage's last attempt; each before it was stopped after so many looks at the flag."""
    codes = [attempt(stage, StopsAtTheNthLook(every))]
    while codes[-1] == ExitCode.STOPPED:
        stage = next_attempt(stage, store)
        codes.append(attempt(stage, StopsAtTheNthLook(every)))
    assert codes[-1] == ExitCode.DONE
    assert codes.count(ExitCode.STOPPED) >= 2, "the test needs stops in the middle"
    return stage


def test_a_state_that_an_earlier_attempt_removes_meanwhile_is_not_the_users_fault(
    tmp_path: Path, tiny_model: Path
) -> None:
    """It trains on where nobody could end it, and keeps its newest states only."""
    stage = trained(tmp_path, tiny_model, SFT, "run")
    assert attempt(stage, StopsAtTheNthLook(7)) == ExitCode.STOPPED
    stage = next_attempt(stage, tmp_path)
    shutil.rmtree(tmp_path / stage["prepared"]["resume"]["path"])
    assert attempt(stage) == ExitCode.TEMPORARY
    assert failure(stage)["reason"] == "StateGone"


def straight(tmp: Path, tiny_model: Path, settings: dict[str, Any]) -> tuple[str, list[Any]]:
    stage = trained(tmp / "straight", tiny_model, settings, "straight")
    assert attempt(stage) == ExitCode.DONE
    return outcome(stage)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "every"),
    [(SFT, 7), (RL, 60), (SCHEDULES, 100)],
    ids=["sft", "rl", "rl with schedules"],
)
def test_a_stage_stopped_again_and_again_ends_with_the_same_bits(
    tmp_path: Path, tiny_model: Path, settings: dict[str, Any], every: int
):
    """Costs about 20 s for each RL case: every attempt loads the model and starts a verifier."""
    store = tmp_path / "stopped"
    stage = trained(store, tiny_model, settings, "another-name")
    stage = stopped_again_and_again(stage, store, every)
    assert outcome(stage) == straight(tmp_path, tiny_model, settings)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "every"), [("mathRL", 20), ("codeRL", 40)])
def test_a_stage_whose_answers_a_built_in_rewarder_checks_ends_with_the_same_bits(
    tmp_path: Path, taught_model: Path, kind: str, every: int
):
    """Costs about 15 s each on a busy machine. Some answers are right, some wrong: verdicts move
    the weights."""
    store = tmp_path / "stopped"
    stage = rewarded(store, taught_model, kind, "another-name")
    stage = stopped_again_and_again(stage, store, every)
    left_alone = rewarded(tmp_path / "straight", taught_model, kind, "straight")
    assert attempt(left_alone) == ExitCode.DONE
    assert outcome(stage) == outcome(left_alone)
    assert any(0 < row["reward"] < 1 for row in outcome(stage)[1]), "no group had a spread"


@pytest.mark.slow
def test_an_rl_stage_told_to_stop_and_then_killed_ends_with_the_same_bits(
    tmp_path: Path, tiny_model: Path
):
    """Costs about 30 s: three real processes that import torch."""
    store = tmp_path / "killed"
    reward = {"function": "tests.trainer.letters:has_an_early_letter_once_let_go"}
    stage = trained(store, tiny_model, {"mathRL": {**RL["mathRL"], "reward": reward}}, "killed")
    threads = str(torch.get_num_threads())  # sums differ in their last bits by how many share them
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "false"}
    for step, number, code in ((1, signal.SIGTERM, ExitCode.STOPPED), (3, signal.SIGKILL, -9)):
        work_dir = begun(stage).work_dir
        rank = subprocess.Popen(
            [sys.executable, "-m", "acereason_trainer", str(work_dir / "stage.yaml")],
            env={**environment, HELD: f"{step} {work_dir}"},
        )
        wait_for_step(work_dir, step, rank)
        rank.send_signal(number)
        (work_dir / LET_GO).touch()
        assert rank.wait() == code
        stage = next_attempt(stage, store)
        assert stage["prepared"]["resume"]["step"] == step
    path = begun(stage).work_dir / "stage.yaml"
    command = [sys.executable, "-m", "acereason_trainer", str(path)]
    assert subprocess.run(command, env=environment, check=False).returncode == ExitCode.DONE
    assert outcome(stage) == straight(tmp_path, tiny_model, RL)


def wait_for_step(work_dir: Path, step: int, rank: "subprocess.Popen[bytes]") -> None:
    """Return once the running rank has completed a step, its state is there, and it goes on:
    it draws, or waits for the reward that holds it."""

    def goes_on() -> bool:
        assert rank.poll() is None, f"the rank ended by itself with {rank.returncode}"
        seen = read_progress(work_dir / "progress.json")
        saved = (work_dir / f"states/{step:08d}/manifest.json").exists()
        open_step = seen is not None and seen.step == step
        return saved and open_step and seen.phase in ("generate", "reward_wait")

    wait_for(goes_on, f"step {step}")
