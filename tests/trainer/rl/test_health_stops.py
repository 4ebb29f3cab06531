"""Real stages that damage themselves end as the contract says, and say why in every place."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from acereason_trainer.__main__ import carry_out
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.telemetry.recorder import read_metrics
from safetensors.torch import load_file, save_file

from tests.python_path import python_path
from tests.stage_attempts import a_stage, attempt, begun, failure, write_rows

pytestmark = pytest.mark.usefixtures("importable_rewards")

SETTINGS = {
    "optimizer": {"learningRate": 1e-4},
    "promptsPerStep": 2,
    "groupSize": {"fixed": 4},
    "maxResponseTokens": 12,
    "temperature": {"fixed": 1.0},
    "stop": {"steps": 3},
    "reward": {"function": "tests.trainer.letters:has_an_early_letter"},
    "sequencesPerBatch": 8,
    "prompting": {"template": "plain"},
    "loading": {"dtype": "float32"},
    "verifier": {"workers": 1},
}


def a_math_stage(store: Path, model: Path, **settings: Any) -> dict[str, Any]:
    rows = [{"problem": f"How much is {n} + {n}?", "answer": str(2 * n)} for n in range(6)]
    data = write_rows(store / "rows.jsonl", rows)
    return a_stage(store, {"mathRL": {**SETTINGS, **settings}}, model=model, data=data)


def work_dir_of(stage: dict[str, Any]) -> Path:
    return Path(stage["store"]) / "work" / stage["run"] / stage["stage"] / "1"


def curves(stage: dict[str, Any]) -> list[dict[str, Any]]:
    return read_metrics(work_dir_of(stage) / "metrics.jsonl")


@pytest.mark.parametrize(
    ("health", "reason", "metric", "step"),
    [
        (
            {"window": 2, "entropy": {"min": 8, "max": 9}, "goOn": ["reward"]},
            "EntropyOutOfBand",
            "entropy",
            2,
        ),
        ({"window": 1, "maxTruncatedShare": 0.01}, "TooManyTruncated", "truncation", 1),
    ],
    ids=["entropy", "truncation"],
)
def test_a_stage_that_destroys_itself_ends_with_a_health_stop(
    tmp_path: Path,
    tiny_model: Path,
    capsys: pytest.CaptureFixture[str],
    health: dict[str, Any],
    reason: str,
    metric: str,
    step: int,
) -> None:
    stage = a_math_stage(tmp_path, tiny_model, health=health)
    assert attempt(stage) == ExitCode.HEALTH_STOP
    assert failure(stage)["reason"] == reason
    assert reason in capsys.readouterr().err
    rows = curves(stage)
    assert [row[f"alarm_{metric}"] for row in rows] == [*[0.0] * (step - 1), 1.0]


def test_a_stage_that_was_told_to_go_on_is_finished(tmp_path: Path, tiny_model: Path) -> None:
    health = {"window": 1, "maxTruncatedShare": 0.01, "goOn": ["reward", "truncation"]}
    stage = a_math_stage(tmp_path, tiny_model, health=health)
    assert attempt(stage) == ExitCode.DONE
    assert [row["alarm_truncation"] for row in curves(stage)] == [1.0] * 3


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """What a healthy attempt has drawn."""
    with pytest.MonkeyPatch.context() as patch:
        root = Path(__file__).parents[3]
        patch.setenv("PYTHONPATH", python_path(root))
        patch.syspath_prepend(root)
        stage = a_math_stage(tmp_path_factory.mktemp("healthy"), tiny_model)
        assert attempt(stage) == ExitCode.DONE
    return work_dir_of(stage) / "journal"


def test_rollouts_of_another_model_are_seen_by_what_it_reported(
    tmp_path: Path, tiny_model: Path, recorded: Path
) -> None:
    stage = a_math_stage(tmp_path, tiny_model)
    context = begun(stage)
    journal = shutil.copytree(recorded, context.work_dir / "journal")
    for file in Path(journal).iterdir():
        rows = json.loads(file.read_text())
        file.write_text(json.dumps([[t, [p - 0.5 for p in ps], *rest] for t, ps, *rest in rows]))
    assert carry_out(context) == ExitCode.BAD_CONFIGURATION, "no other attempt would mend it"
    said = failure(stage)
    assert said["reason"] == "SamplerMismatch"
    assert "step 1 was trained on responses" in said["message"]
    (row,) = curves(stage)
    assert (row["alarm_mismatch"], row["alarm_number"]) == (1, 0)
    assert row["mismatch_share"] == pytest.approx(1.0)


def test_a_model_that_overflows_is_never_stepped(
    tmp_path: Path, tiny_model: Path, recorded: Path
) -> None:
    broken = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"] *= 1e38
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    stage = a_math_stage(tmp_path, broken)
    context = begun(stage)
    shutil.copytree(recorded, context.work_dir / "journal")
    assert carry_out(context) == ExitCode.HEALTH_STOP
    assert failure(stage)["reason"] == "NotANumber"
    (row,) = curves(stage)
    assert (row["step"], row["loss"], row["alarm_number"], row["alarm_mismatch"]) == (1, None, 1, 0)
