"""What a stage shows and how it can end before its first step."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from acereason_trainer.__main__ import carry_out
from acereason_trainer.artifacts.store import DirectoryStore
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.stage_file import StageFile
from acereason_trainer.sft.documents import ROWS_AT_ONCE
from acereason_trainer.sft.loop import load_documents
from acereason_trainer.stage import StageContext, StopFlag
from acereason_trainer.telemetry.recorder import Recorder
from transformers import AutoModelForCausalLM, AutoTokenizer


class StopsAtTheNthLook(StopFlag):
    """A SIGTERM that arrives at a chosen moment."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._looks = looks

    def check(self) -> None:
        self._looks -= 1
        if self._looks < 0:
            self._event.set()
        super().check()


def a_stage(
    store: Path, model: Path, *, salt: int = 0, stop: StopFlag | None = None, **settings: Any
) -> StageContext:
    """An attempt of an SFT stage on two batches of rows."""
    store.mkdir()
    rows = [{"problem": f"{n} + {n}?", "response": str(2 * n)} for n in range(2 * ROWS_AT_ONCE)]
    (store / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shelves = DirectoryStore(store)
    inputs = {
        "model": shelves.import_path(model, "model").dump(),
        "data": shelves.import_path(store / "rows.jsonl", "data").dump(),
    }
    sft = {
        "budget": {"epochs": 1},
        "optimizer": {"learningRate": 1e-3},
        "rowTokens": 256,
        "rowsPerStep": 2,
        "prompting": {"template": "plain"},
        "loading": {"dtype": "float32"},
        **settings,
    }
    file = StageFile.parse(
        {
            "run": "run", "stage": "sft", "attempt": 1, "store": str(store),
            "settings": {"sft": sft},
            "prepared": {"key": f"sft-{'0' * 32}", "inputs": inputs, "salt": salt},
        }
    )  # fmt: skip
    assert file.prepared is not None
    work_dir = store / file.work_dir
    work_dir.mkdir(parents=True)
    return StageContext(file, file.prepared, store, work_dir, stop or StopFlag())


@pytest.mark.parametrize(
    ("looks", "why"), [(0, "while rows are read"), (2, "while rows are packed to count steps")]
)
def test_a_stop_while_loading_ends_the_stage_and_progress_says_where(
    tmp_path: Path, tiny_model: Path, looks: int, why: str
) -> None:
    context = a_stage(tmp_path / "store", tiny_model, stop=StopsAtTheNthLook(looks))
    assert carry_out(context) == ExitCode.STOPPED
    progress = json.loads((context.work_dir / "progress.json").read_text())
    assert progress["phase"].startswith("load")
    assert progress["step"] == 0


def test_a_salted_retry_learns_in_another_order(tmp_path: Path, tiny_model: Path) -> None:
    steps = []
    for salt in (0, 0, 1):
        context = a_stage(tmp_path / str(len(steps)), tiny_model, salt=salt)
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
    context = a_stage(tmp_path / "store", broken)
    assert carry_out(context) == ExitCode.HEALTH_STOP
    failure = json.loads((context.work_dir / "rank-0.failure.json").read_text())
    assert failure["reason"] == "NotANumber"
    assert failure["message"].startswith("step 1 has loss nan")
    assert (context.work_dir / "metrics.jsonl").read_text() == ""
