"""The stage as a whole, as far as it needs no model."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from acereason_trainer.__main__ import carry_out
from acereason_trainer.artifacts.store import DirectoryStore
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.stage_file import StageFile
from acereason_trainer.stage import StageContext


def a_stage(store: Path, rows: Sequence[dict[str, Any]], curate: dict[str, Any]) -> StageContext:
    """An attempt without a model."""
    store.mkdir()
    (store / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = DirectoryStore(store).import_path(store / "rows.jsonl", "data")
    file = StageFile.parse(
        {
            "run": "run", "stage": "curate", "attempt": 1, "store": str(store),
            "settings": {"curate": {"rules": {"minProblemCharacters": 1}, **curate}},
            "prepared": {"key": f"curate-{'0' * 32}", "inputs": {"data": data.dump()}},
        }
    )  # fmt: skip
    assert file.prepared is not None
    work_dir = store / file.work_dir
    work_dir.mkdir(parents=True)
    return StageContext(file, file.prepared, store, work_dir)


@pytest.mark.parametrize(
    ("other", "said", "why"),
    [
        ({"problem": "And 2 + 2?"}, "line 2 has the id 1 of selected.jsonl line 1", "a problem"),
        ({"answer": "3"}, "line 2 has the id 1 of selected.jsonl line 1", "an answer"),
        ({"response": "Four."}, "needs a model", "a worked answer: attempted once for both"),
        ({"teacher_tokens": 7}, "needs a model", "nothing that an attempt depends on"),
    ],
)
def test_rows_of_one_id_are_attempted_together_only_where_they_are_one_problem(
    tmp_path: Path, other: dict[str, Any], said: str, why: str
) -> None:
    row = {"id": "1", "problem": "How much is 1 + 1?", "answer": "2", "response": "Two."}
    curate = {"passRate": {}, "deduplicate": "none"}
    context = a_stage(tmp_path / "store", [row, {**row, **other}], curate)
    assert carry_out(context) == ExitCode.BAD_CONFIGURATION
    assert said in json.loads((context.work_dir / "rank-0.failure.json").read_text())["message"]


def test_what_is_recorded_is_what_telemetry_asks_for(tmp_path: Path) -> None:
    row = {"problem": "How much is 1 + 1?", "answer": "2"}
    for asked in (False, True):
        settings = {"telemetry": {"tensorboard": asked}}
        context = a_stage(tmp_path / f"store-{asked}", [row], settings)
        assert carry_out(context) == ExitCode.DONE
        assert (context.work_dir / "tensorboard").exists() == asked
