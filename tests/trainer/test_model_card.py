"""A published model says what it is, where it came from and what was measured of it."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest
from acereason_trainer.artifacts.manifest import Producer
from acereason_trainer.artifacts.store import DirectoryStore
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.model_card import CARD, main
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.stage_attempts import a_stage, attempt, published, write_rows
from tests.trainer.taught import BARE

SFT = {
    "sft": {
        "optimizer": {"learningRate": 1e-3, "warmupSteps": 0},
        "budget": {"steps": 2},
        "rowTokens": 256,
        "rowsPerStep": 1,
        "tokensPerMicroBatch": 256,
        "prompting": BARE,
        "loading": {"dtype": "float32"},
    }
}


@pytest.fixture
def stage(tmp_path: Path, tiny_model: Path) -> dict[str, object]:
    data = write_rows(tmp_path / "rows.jsonl", [{"problem": "1+1", "response": "2"}] * 4)
    stage = a_stage(tmp_path / "store", SFT, run="adds", model=tiny_model, data=data)
    assert attempt(stage) == ExitCode.DONE
    return stage


def evaluated(stage: dict[str, object], accuracy: float) -> None:
    """An evaluation of the stage's model, published after it."""
    store = DirectoryStore(Path(str(stage["store"])))
    digest, _ = published(stage)
    directory = store.root / "evaluation"
    directory.mkdir()
    (directory / "results.json").write_text("{}")
    store.publish(
        directory,
        key=f"evaluate-{'1' * 32}",
        kind="evaluation",
        parents={"model": digest},
        producer=Producer(run="adds", stage="exam", attempt=1, stage_kind="evaluate"),
        metrics={"accuracy/sums": accuracy},
    )


def test_the_card_of_a_published_model(stage: dict[str, object], tiny_model: Path) -> None:
    _, directory = published(stage)
    card = (directory / CARD).read_text()
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert "# adds/stage" in card
    assert "Made by stage `stage` (sft) of run `adds`, attempt 1, 2 steps on 1 rank." in card
    assert "A qwen2 language model; weights in float32; 512 tokens of context" in card
    assert f"imported from {tiny_model}" in card
    assert "| this model | its own stage | documents_too_long 0 |" in card
    assert f"| torch | {version('torch')} |" in card


def test_the_card_changes_no_digest_and_the_folder_loads_as_it_is(
    stage: dict[str, object],
) -> None:
    _, directory = published(stage)
    files = {f["path"]: f for f in json.loads((directory / "manifest.json").read_text())["files"]}
    assert files[CARD]["record"]
    model = AutoModelForCausalLM.from_pretrained(directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    asked = tokenizer("1+1", return_tensors="pt")
    assert model.generate(**asked, max_new_tokens=3).shape[1] > asked["input_ids"].shape[1]


def test_a_card_of_today_has_what_was_measured_since(
    stage: dict[str, object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluated(stage, 0.25)
    monkeypatch.setattr("sys.argv", ["model_card", str(stage["store"]), "adds/stage"])
    assert main() == 0
    assert "| this model | evaluation adds/exam | accuracy/sums 0.25 |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "said"), [("adds/exam", "is no model (evaluation); name one"), ("no", "is not there")]
)
def test_what_is_no_model_has_no_card(
    stage: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    said: str,
) -> None:
    evaluated(stage, 0.25)
    monkeypatch.setattr("sys.argv", ["model_card", str(stage["store"]), name])
    assert main() == 2
    assert said in capsys.readouterr().err
