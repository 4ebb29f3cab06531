"""The stage as a whole, as far as it needs no model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from acereason_trainer.__main__ import carry_out
from acereason_trainer.config.exit_codes import ExitCode

from tests.stage_attempts import a_stage, attempt, begun, failure, write_rows


def curated(
    store: Path, rows: Sequence[dict[str, Any]], settings: dict[str, Any]
) -> dict[str, Any]:
    """An attempt without a model."""
    settings = {"rules": {"minProblemCharacters": 1}, **settings}
    return a_stage(store, {"curate": settings}, data=write_rows(store / "rows.jsonl", rows))


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
    stage = curated(tmp_path / "store", [row, {**row, **other}], curate)
    assert attempt(stage) == ExitCode.BAD_CONFIGURATION
    assert said in failure(stage)["message"]


def test_what_is_recorded_is_what_telemetry_asks_for(tmp_path: Path) -> None:
    row = {"problem": "How much is 1 + 1?", "answer": "2"}
    for asked in (False, True):
        settings = {"telemetry": {"tensorboard": asked}}
        context = begun(curated(tmp_path / f"store-{asked}", [row], settings))
        assert carry_out(context) == ExitCode.DONE
        assert (context.work_dir / "tensorboard").exists() == asked
