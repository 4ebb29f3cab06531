"""Stages on two ranks, as the launcher starts them: what one process learns, and no state lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.stage_file import ResultRecord, StageFile
from acereason_trainer.launch.watchdog import read_progress
from acereason_trainer.prepare.key import stage_key
from acereason_trainer.telemetry.recorder import read_metrics

from tests.python_path import python_path
from tests.stage_attempts import a_stage, attempt, begun, published, write_rows
from tests.trainer.test_exact_resume import next_attempt, outcome
from tests.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("importable_rewards")]
"""Each test costs 10 to 80 s: every launch has two processes that import torch and DeepSpeed."""
STEPS = 20
SFT = {
    "optimizer": {"learningRate": 1e-3, "finalFraction": 0.1},
    "budget": {"steps": STEPS},
    "rowTokens": 96,
    "rowsPerStep": 3,  # two ranks cannot have as many rows each
    "tokensPerMicroBatch": 96,
    "prompting": {"template": "plain"},
    "loading": {"dtype": "float32"},
}
RL = {
    "optimizer": {"learningRate": 1e-3},
    "promptsPerStep": 3,
    "groupSize": {"fixed": 4},
    "maxResponseTokens": 24,
    "temperature": {"fixed": 1.0},
    "stop": {"steps": STEPS},
    "overlong": {"mode": "mask"},
    "sequencesPerBatch": 4,
    "tokensPerMicroBatch": 128,
    "reward": {"function": "tests.trainer.letters:has_an_early_letter"},
    "prompting": {"template": "plain"},
    "loading": {"dtype": "float32"},
    "verifier": {"workers": 1},
}
KINDS = {"sft": SFT, "mathRL": RL}
SETTINGS = {**KINDS, "curate": {}}
AT_EACH_STEP = {"saving": {"minutesAtRisk": 0}}
LEARNED = ("loss", "grad_norm", "entropy_exact", "trained_tokens")
"""What of a curve says that the same was learned."""


def a_prepared_stage(
    store: Path, model: Path, kind: str, ranks: int, **settings: Any
) -> dict[str, Any]:
    """Attempt 1 under its real key, which the launcher computes again."""
    rows = [
        {"problem": f"How much is {n} + {n}?", "answer": str(2 * n), "response": f"{n}+{n} " * 3}
        for n in range(12)
    ]
    data = write_rows(store / "rows.jsonl", rows)
    stage = a_stage(store, {kind: {**SETTINGS[kind], **settings}}, model=model, data=data)
    file = StageFile.parse(stage)
    assert file.prepared is not None
    key = stage_key(file, file.prepared.inputs)
    return {**stage, "ranks": ranks, "prepared": {**stage["prepared"], "key": key}}


def start(
    stage: dict[str, Any], held_at: int | None = None
) -> tuple[Path, "subprocess.Popen[bytes]"]:
    """The launcher of an attempt, and the attempt's directory (made where it is not there yet).

    held_at: the step after which it stands still until it is told to stop.
    """
    work_dir = Path(stage["store"]) / StageFile.parse(stage).work_dir
    if not work_dir.exists():
        begun(stage)
    command = [sys.executable, "-m", "acereason_trainer.launch", str(work_dir / "stage.yaml")]
    if held_at is not None:
        rank = [sys.executable, str(Path(__file__).with_name("held_rank.py")), str(held_at)]
        command += ["--rank-command", json.dumps(rank)]
    return work_dir, subprocess.Popen(command)


def launched(stage: dict[str, Any]) -> ResultRecord:
    """How the attempt ended."""
    work_dir, launcher = start(stage)
    launcher.wait()
    return ResultRecord.parse_json((work_dir / "result.json").read_bytes())


def stopped(stage: dict[str, Any], step: int, killed: int | None = None) -> ResultRecord:
    """How the attempt ended after SIGTERM for all at a step, or SIGKILL for the rank that is
    named."""
    work_dir, launcher = start(stage, held_at=step)
    seen = work_dir / "progress.json"
    try:
        wait_for(lambda: has_come_to(step, seen, launcher), f"step {step}", patience=600)
        if killed is None:
            launcher.send_signal(signal.SIGTERM)
        else:
            os.kill(process_of(launcher, killed), signal.SIGKILL)
        launcher.wait()
    finally:
        launcher.kill()  # and with it the rank that stands still, where it was not told to stop
        launcher.wait()
    record = ResultRecord.parse_json((work_dir / "result.json").read_bytes())
    assert step <= record.step < STEPS, "it ended by itself"
    return record


def has_come_to(step: int, file: Path, launcher: "subprocess.Popen[bytes]") -> bool:
    """Whether an attempt that still runs has completed a step."""
    assert launcher.poll() is None, (file.parent / "rank-0.log").read_text()
    progress = read_progress(file)
    return progress is not None and progress.step >= step


def process_of(launcher: "subprocess.Popen[bytes]", rank: int) -> int:
    """Process id of a rank. The launcher adopts orphans, too: its own children come first."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    return next(
        int(pid)
        for pid in children
        if f"RANK={rank}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    )


def curve(stage: dict[str, Any], name: str) -> list[float | None]:
    """Of the steps. What was measured at the end has a row of its own, without the rest."""
    return [row[name] for row in read_metrics(published(stage)[1] / "metrics.jsonl") if name in row]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[dict[str, Any]]:
    """By kind: the stage as one process carried it out."""
    with pytest.MonkeyPatch.context() as patch:
        root = Path(__file__).parents[2]
        patch.setenv("PYTHONPATH", python_path(root))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.syspath_prepend(root)
        stages = {}
        for kind in KINDS:
            store = tmp_path_factory.mktemp(f"alone-{kind}")
            stages[kind] = a_prepared_stage(store, tiny_model, kind, 1)
            assert attempt(stages[kind]) == ExitCode.DONE
        yield stages


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the operator would tell two ranks on two cores."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def recorded(stage: dict[str, Any], of: dict[str, Any]) -> Path:
    """Give an attempt the rollouts that another one has drawn; its journal."""
    journal = begun(stage).work_dir / "journal"
    source = Path(of["store"]) / StageFile.parse(of).work_dir / "journal"
    if source.exists():  # an SFT stage draws none
        shutil.copytree(source, journal)
    return journal


@pytest.mark.parametrize(
    ("kind", "ranks", "zero"),
    [
        ("sft", 2, {"stage": 2}),
        ("sft", 2, None),
        ("sft", 1, {"stage": 3, "offloadOptimizer": True}),
        ("mathRL", 2, {"stage": 2}),  # with 3: from two ranks to one process and back
    ],
)
def test_ranks_with_zero_learn_what_one_process_learns(
    tmp_path: Path,
    tiny_model: Path,
    alone: dict[str, Any],
    kind: str,
    ranks: int,
    zero: dict[str, Any] | None,
) -> None:
    """RL learns from the rollouts that the one process has drawn, and draws none itself."""
    stage = a_prepared_stage(tmp_path, tiny_model, kind, ranks, **({"zero": zero} if zero else {}))
    journal = recorded(stage, of=alone[kind])
    batches = sorted(journal.glob("*"))
    assert launched(stage).exit_code == ExitCode.DONE
    assert sorted(journal.glob("*")) == batches
    assert bool(batches) == (kind == "mathRL")
    for name in LEARNED:
        theirs, ours = curve(alone[kind], name), curve(stage, name)
        assert len(ours) == STEPS
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-7), name


@pytest.mark.parametrize(("kind", "zero", "killed"), [("sft", 2, 1), ("mathRL", 3, 0)])
def test_two_ranks_that_are_stopped_and_then_killed_go_on_to_the_same_bits(
    tmp_path: Path, tiny_model: Path, kind: str, zero: int, killed: int
) -> None:
    """RL with stage 3 is what several ranks do unless told otherwise; rank 0 commits the states."""
    settings = {"zero": {"stage": zero}, **AT_EACH_STEP}
    straight = a_prepared_stage(tmp_path / "straight", tiny_model, kind, 2, **settings)
    assert launched(straight).exit_code == ExitCode.DONE
    store = tmp_path / "broken off"
    stage = a_prepared_stage(store, tiny_model, kind, 2, **settings)
    assert stopped(stage, 3).exit_code == ExitCode.STOPPED
    stage = next_attempt(stage, store)
    assert stage["prepared"]["resume"]["step"] >= 3  # a stop that was asked for saves its step
    assert stopped(stage, 8, killed).exit_code == ExitCode.TEMPORARY
    stage = next_attempt(stage, store)
    assert stage["prepared"]["resume"]["step"] >= 6  # that of step 7 may have been under way
    assert launched(stage).exit_code == ExitCode.DONE
    assert outcome(stage) == outcome(straight)


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_stage_goes_from_two_ranks_to_one_process_and_back(
    tmp_path: Path, tiny_model: Path, alone: dict[str, Any], kind: str
) -> None:
    stage = a_prepared_stage(tmp_path, tiny_model, kind, 2, **AT_EACH_STEP)
    recorded(stage, of=alone[kind])
    assert stopped(stage, 3).exit_code == ExitCode.STOPPED
    for ranks, until in ((1, 10), (2, STEPS)):
        stage = {**next_attempt(stage, tmp_path), "ranks": ranks}
        recorded(stage, of=alone[kind])
        if until < STEPS:
            assert stopped(stage, until).exit_code == ExitCode.STOPPED
        else:
            assert launched(stage).exit_code == ExitCode.DONE
    for name in LEARNED:
        theirs, ours = curve(alone[kind], name), curve(stage, name)
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-7), name


def test_of_a_stage_that_is_not_shared_one_rank_does_all_and_the_other_waits(
    tmp_path: Path, tiny_model: Path
) -> None:
    stage = a_prepared_stage(tmp_path, tiny_model, "curate", 2)
    record = launched(stage)
    assert (record.exit_code, record.reason) == (ExitCode.DONE, "Done")
    work_dir = Path(stage["store"]) / StageFile.parse(stage).work_dir
    assert [row["rows"] for row in read_metrics(work_dir / "metrics.jsonl")] == [12]
    assert (work_dir / "rank-1.log").read_text() == ""


def test_a_damaged_input_ends_all_ranks_as_such(tmp_path: Path, tiny_model: Path) -> None:
    stage = a_prepared_stage(tmp_path, tiny_model, "sft", 2)
    weights = tmp_path / stage["prepared"]["inputs"]["model"]["uri"] / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")  # it was the end of a 1.0
    record = launched(stage)
    assert (record.exit_code, record.reason) == (ExitCode.CORRUPT_INPUT, "CorruptInput")
    work_dir = Path(stage["store"]) / StageFile.parse(stage).work_dir
    assert len([*work_dir.glob("rank-*.failure.json")]) == 2
