"""A published model says what it is, where it came from and what was measured of it."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from acereason_trainer.artifacts.manifest import Producer
from acereason_trainer.artifacts.store import DirectoryStore
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.model_card import CARD, main, model_card
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


def head_of(card: str) -> dict[str, Any]:
    head: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return head


@pytest.mark.parametrize(
    ("origin", "readme", "known"),
    [
        ("hub some/base@4f2c", None, {"base_model": "some/base"}),
        (
            "/models/base",
            "---\nlicense: other\nlicense_name: some-terms\nlanguage: [en]\n---\n# Base\n",
            {"license": "other", "license_name": "some-terms"},
        ),
        ("/models/base", "# Base, under a license\n---\nlicense: mit\n---\n", {}),
        ("/models/base", "---\nlicense: [mit\n---\n", {}),
        ("/models/base", None, {}),
    ],
    ids=["hub", "its own card", "no head", "broken head", "nothing known"],
)
def test_the_base_and_its_license_are_told_as_far_as_they_are_known(
    tmp_path: Path, origin: str, readme: str | None, known: dict[str, str]
) -> None:
    store = DirectoryStore(tmp_path)
    files = {"config.json": b"{}", **({} if readme is None else {CARD: readme.encode()})}
    base = store.import_files(files, kind="model", origin=origin)
    parent = base.digest
    for key in ("sft", "mathRL"):
        directory = tmp_path / key
        directory.mkdir()
        (directory / "config.json").write_text(f'{{"made_by": "{key}"}}')
        made = store.publish(
            directory,
            key=f"{key}-{'1' * 32}",
            kind="model",
            parents={"model": parent},
            producer=Producer(run="adds", stage=key, attempt=1, stage_kind=key),
        )
        parent = made.digest
    card = model_card(store, store.manifest(made.uri), store.directory(made.uri))
    assert head_of(card) == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["acereason", "grpo"],
        **known,
    }


CHOICES = {"math": ["checkpoint"], "code": ["checkpoint", "stop"], "more": []}
"""What each of three stages, one behind the other, chose by validation."""
FIGURES = "reward 0.5, validation_accuracy 0.75"
CHOSE = "the stage chose its {} by validation_accuracy, so that figure is not held out"


def test_an_accuracy_that_a_stage_chose_by_is_told_as_such_in_every_card_of_its_line(
    tmp_path: Path,
) -> None:
    store, parents = DirectoryStore(tmp_path / "store"), dict[str, str]()
    for stage, chosen in CHOICES.items():
        directory = tmp_path / stage
        directory.mkdir()
        (directory / "config.json").write_text(f'{{"made_by": "{stage}"}}')
        if chosen:
            (directory / "choice.json").write_text(json.dumps({"chosen": chosen}))
        made = store.publish(
            directory,
            key=f"{stage}-{'1' * 32}",
            kind="model",
            records=["choice.json"] if chosen else [],
            parents=parents,
            producer=Producer(run="adds", stage=stage, attempt=1, stage_kind="mathRL"),
            metrics={"reward": 0.5, "validation_accuracy": 0.75},
        )
        parents = {"model": made.digest}
    card = model_card(store, store.manifest(made.uri), store.directory(made.uri))
    said = [line.split(" | ") for line in card.splitlines() if "| its own stage |" in line]
    assert [(model.strip("| "), result.strip("| ").split("; ")) for model, _, result in said] == [
        ("this model", [FIGURES]),
        ("adds/code", [FIGURES, CHOSE.format("checkpoint and stop")]),
        ("adds/math", [FIGURES, CHOSE.format("checkpoint")]),
    ]


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
