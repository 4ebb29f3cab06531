"""`acereason plan`: what it foretells of runs that are held, or cannot be prepared here."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from acereason_operator.cli.plan import ask
from acereason_trainer.config.stage_file import StageFile

DATA = {"name": "data", "curate": {}, "inputs": {"data": {"path": "d.jsonl"}}}
SFT = {"name": "sft", "sft": {}}
HUB = {"hub": {"id": "owner/name", "revision": "0" * 40}}


def foretold(directory: Path, stages: list[Any], code: int = 0, **spec: Any) -> list[Any]:
    """What `acereason plan -o json` says of a run of these stages."""
    (directory / "d.jsonl").write_text('{"problem": "1 + 1?", "answer": "2"}')
    (directory / "model.json").write_text('{"model_type": "qwen2"}')
    (directory / "tokenizer").mkdir()
    (directory / "tokenizer" / "tokenizer.json").write_text("{}")
    run = {
        "apiVersion": "acereason.dev/v1alpha1",
        "kind": "AceReasonRun",
        "metadata": {"name": "demo"},
        "spec": {
            "model": {"fromConfig": {"config": "model.json", "tokenizer": "tokenizer"}},
            "storage": {"directory": "store"},
            "stages": stages,
            **spec,
        },
    }
    (directory / "run.yaml").write_text(yaml.safe_dump(run))
    ended = subprocess.run(
        [sys.executable, "-m", "acereason_operator.cli.main", "plan", "run.yaml", "-o", "json"],
        cwd=directory,
        check=False,
        capture_output=True,
        env={**os.environ, "HF_HOME": str(directory / "hub"), "HF_ENDPOINT": "http://127.0.0.1:9"},
    )
    assert ended.returncode == code, ended.stderr.decode()
    return list(json.loads(ended.stdout))


@pytest.mark.parametrize(
    ("why", "suspended", "spec", "verdicts"),
    [
        ("all of it", {}, {"suspend": True}, ["held", "held"]),
        ("a stage, and what needs it", {"suspend": True}, {}, ["held", "held"]),
    ],
)
def test_a_suspended_run_shows_its_keys_and_is_held(
    tmp_path: Path,
    why: str,
    suspended: dict[str, Any],
    spec: dict[str, Any],
    verdicts: list[str],
) -> None:
    data, sft = foretold(tmp_path, [{**DATA, **suspended}, SFT], **spec)
    assert [data["verdict"], sft["verdict"]] == verdicts
    assert data["key"] and "held back by" in data["why"] and "without it: run" in data["why"]


def test_a_hub_repository_is_not_downloaded_for_a_look_ahead(tmp_path: Path) -> None:
    """The hub's address leads nowhere: asking it would be an error."""
    (stage,) = foretold(tmp_path, [{**DATA, "inputs": {"data": HUB}}])
    assert (stage["verdict"], stage["key"]) == ("run", None)
    assert stage["why"] == f"hub owner/name@{'0' * 40} is not downloaded yet"


def test_a_look_ahead_that_dies_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"sft": {}}
    file = StageFile.parse(
        {"run": "run", "stage": "sft", "attempt": 1, "store": str(tmp_path), "settings": settings}
    )
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))  # in which no Python starts
    record = ask(file)
    assert record.exit_code != 0 and "answered nothing and ended with 1" in record.message
