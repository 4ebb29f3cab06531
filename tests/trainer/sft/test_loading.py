"""What a stage shows and how it can end before its first step."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from acereason_trainer.__main__ import carry_out
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.sft.documents import ROWS_AT_ONCE
from acereason_trainer.sft.loop import load_documents
from acereason_trainer.telemetry.recorder import Recorder, read_metrics
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.stage_attempts import StopsAtTheNthLook, a_stage, begun, failure, write_rows


def sft(store: Path, model: Path, *, salt: int = 0) -> dict[str, Any]:
    """An attempt of an SFT stage on two batches of rows."""
    rows = [{"problem": f"{n} + {n}?", "response": str(2 * n)} for n in range(2 * ROWS_AT_ONCE)]
    settings = {
        "budget": {"epochs": 1},
        "optimizer": {"learningRate": 1e-3},
        "rowTokens": 256,
        "rowsPerStep": 2,
        "prompting": {"template": "plain"},
        "loading": {"dtype": "float32"},
    }
    data = write_rows(store / "rows.jsonl", rows)
    return a_stage(store, {"sft": settings}, salt=salt, model=model, data=data)


@pytest.mark.parametrize(
    ("looks", "why"), [(0, "while rows are read"), (2, "while rows are packed to count steps")]
)
def test_a_stop_while_loading_ends_the_stage_and_progress_says_where(
    tmp_path: Path, tiny_model: Path, looks: int, why: str
) -> None:
    context = begun(sft(tmp_path / "store", tiny_model), StopsAtTheNthLook(looks))
    assert carry_out(context) == ExitCode.STOPPED
    progress = json.loads((context.work_dir / "progress.json").read_text())
    assert progress["phase"].startswith("load")
    assert progress["step"] == 0


def test_a_salted_retry_learns_in_another_order(tmp_path: Path, tiny_model: Path) -> None:
    steps = []
    for salt in (0, 0, 1):
        context = begun(sft(tmp_path / str(len(steps)), tiny_model, salt=salt))
        settings = context.file.settings.sft
        assert settings is not None
        with Recorder(
            context.work_dir, total=None, unit="steps", settings=settings.telemetry, key="k"
        ) as recorder:
            steps.append(list(load_documents(context, settings, recorder).steps()))
    assert steps[0] == steps[1]
    assert steps[0] != steps[2]


def test_a_step_whose_numbers_are_none_ends_the_stage(tmp_path: Path, tiny_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    broken = tmp_path / "broken"
    model.save_pretrained(broken)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(broken)
    stage = sft(tmp_path / "store", broken)
    context = begun(stage)
    assert carry_out(context) == ExitCode.HEALTH_STOP
    assert failure(stage)["reason"] == "NotANumber"
    assert failure(stage)["message"].startswith("step 1 has loss nan")
    (row,) = read_metrics(context.work_dir / "metrics.jsonl")
    assert (row["step"], row["loss"], row["alarm_number"]) == (1, None, 1)
