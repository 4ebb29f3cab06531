"""A stage file means the same whoever wrote it, as YAML or as JSON."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from acereason_operator.api.yaml_loader import load_documents
from acereason_trainer.config import yaml_numbers
from acereason_trainer.config.read_stage_file import BadStageFile, read_stage_file
from acereason_trainer.config.stage_file import StageFile
from acereason_trainer.curation.__main__ import main as curate
from hypothesis import given
from hypothesis import strategies as st

NUMBERS = ["1e-6", "3e-05", "1E3", "+2e1", "-.5", "5.", ".5e-3", "7", "-0", "1.5", "0.25e+2"]
TEXTS = ["1e", "e5", "1e-6x", "1.2.3", ".", "+", "1e-", "0x1p3", "abc", "1-2"]


@pytest.mark.parametrize("text", [*NUMBERS, *TEXTS])
def test_what_a_plain_scalar_is_agrees_with_the_run_files_loader(text: str) -> None:
    (document,) = load_documents(f"value: {text}", "f")
    assert yaml_numbers.load(f"value: {text}".encode()) == document.data
    assert isinstance(document.data["value"], str) == (text in TEXTS)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text()
    | st.floats(allow_nan=False, allow_infinity=False) | st.from_regex(yaml_numbers.FLOAT),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(plain)
def test_what_is_written_comes_back_as_yaml_and_as_json(data: Any) -> None:
    assert yaml_numbers.load(yaml_numbers.dump(data)) == data
    assert yaml_numbers.load(json.dumps(data).encode()) == data
    assert yaml_numbers.load(json.dumps(data, ensure_ascii=False).encode()) == data


STAGE: dict[str, Any] = {
    "run": "demo",
    "stage": "math",
    "attempt": 1,
    "store": "/store",
    "settings": {
        "mathRL": {
            "optimizer": {"learningRate": 3e-05},
            "reward": {"function": "rewards:right", "version": "1e3"},
            "prompting": {"system": "Think. \U0001f600"},
        }
    },
}


@pytest.mark.parametrize(
    "text",
    [json.dumps(STAGE), json.dumps(STAGE, indent=1, ensure_ascii=False), yaml.safe_dump(
        {**STAGE, "settings": {"mathRL": {"optimizer": {"learningRate": 3e-05}}}}
    ).replace("3.0e-05", "3e-05")],
    ids=["JSON", "JSON with characters as they are", "YAML with a number as people write it"],
)  # fmt: skip
def test_a_stage_file_may_hold_numbers_without_a_dot(tmp_path: Path, text: str) -> None:
    (tmp_path / "stage.yaml").write_text(text)
    stage = read_stage_file(tmp_path / "stage.yaml").settings.math_rl
    assert stage is not None and stage.optimizer.learning_rate == 3e-05
    if stage.reward is not None:
        assert (stage.reward.version, stage.prompting.system) == ("1e3", "Think. \U0001f600")


def test_a_stage_file_that_was_written_is_read_as_the_same(tmp_path: Path) -> None:
    stage = StageFile.parse(STAGE)
    (tmp_path / "stage.yaml").write_bytes(yaml_numbers.dump(stage.dump()))
    assert read_stage_file(tmp_path / "stage.yaml") == stage


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{run: [", "is not YAML: while parsing a flow node"),
        (b"\xff\xfe{", "is not YAML"),
        (b"run: demo", "is no stage file: stage: Field required"),
        (b"made: 2026-01-31", "is no stage file: Object of type date"),
    ],
)
def test_what_is_no_stage_file_is_one_sentence(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "stage.yaml").write_bytes(content)
    with pytest.raises(BadStageFile, match=said):
        read_stage_file(tmp_path / "stage.yaml")


def test_settings_of_a_dry_curation_may_hold_them_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"problem": "How much are one and one together?", "answer": "2", "level": 1}
    (tmp_path / "d.jsonl").write_text(json.dumps(row))
    (tmp_path / "s.yaml").write_text("mix: [{where: [{column: level, min: 1e0}], weight: 2e0}]")
    assert curate([str(tmp_path / "d.jsonl"), "--settings", str(tmp_path / "s.yaml")]) == 0
    assert "2  rows out" in capsys.readouterr().out
