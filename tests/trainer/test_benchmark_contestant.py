"""The benchmark's contestant of ours: a real stage that computes only when it is its turn."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from acereason_trainer.config.stage_file import Prepared, StageFile
from acereason_trainer.telemetry.recorder import read_metrics

from benchmarks.contest import Contestant
from benchmarks.stage_files import begun_anew, stage_file
from benchmarks.trainer_grpo import require_prompts, rows_in_order
from tests.stage_attempts import write_rows
from tests.trainer.test_several_ranks import KINDS

TURNS = 3


@pytest.mark.slow  # 10 s each: a stage of its own that imports torch
@pytest.mark.usefixtures("importable_rewards")
@pytest.mark.parametrize("kind", KINDS)
def test_a_stage_of_ours_makes_one_step_a_turn(
    tmp_path: Path, tiny_model: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    rows = [
        {"problem": f"How much is {n} + {n}?", "answer": str(2 * n), "response": f"{n}+{n} " * 3}
        for n in range(12)
    ]
    settings: dict[str, Any] = {kind: KINDS[kind]}
    data = write_rows(tmp_path / "rows.jsonl", rows)
    file = stage_file(tmp_path / "store", settings, name="ours", model=tiny_model, data=data)
    path = begun_anew(file)
    command = [sys.executable, "-m", "benchmarks.trainer_ours", str(path)]
    with Contestant("ours", command, tmp_path / "ours.log", os.environ) as ours:
        ours.answer()
        answers = [ours.turn() for _ in range(TURNS)]
    assert [a["metrics"]["step"] for a in answers] == [1, 2, 3]
    made = [row["step"] for row in read_metrics(path.parent / "metrics.jsonl")]
    assert made == [1, 2, 3], "it goes on to the stage's end without a turn"
    if kind == "mathRL":
        require_prompts({"ours": answers}, rows_in_order(file, TURNS))
        other = file.model_copy(update={"prepared": another_key(file)})
        with pytest.raises(RuntimeError, match="ours drew other prompts"):
            require_prompts({"ours": answers}, rows_in_order(other, TURNS))


def another_key(file: StageFile) -> Prepared:
    assert file.prepared is not None
    return file.prepared.model_copy(update={"key": "mathRL-" + "0" * 32})
