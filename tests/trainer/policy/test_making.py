"""Which policy a stage gets."""

from pathlib import Path
from typing import Any

import pytest
import torch
from acereason_trainer.config.rl import MathRL
from acereason_trainer.config.sft import SFT
from acereason_trainer.policy import making

from tests.stage_attempts import a_stage, begun, write_rows

ROWS = [{"problem": "1 + 1", "answer": "2", "response": "2"}]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a policy of one process is made with; none is."""
    told: dict[str, Any] = {}
    monkeypatch.setattr(making, "TorchPolicy", lambda _, **options: told.update(options))
    return told


def make(tmp_path: Path, model: Path, settings: SFT | MathRL) -> None:
    """Ask for a stage's policy."""
    kind = "sft" if isinstance(settings, SFT) else "mathRL"
    data = write_rows(tmp_path / "rows.jsonl", ROWS)
    stage = a_stage(tmp_path, {kind: settings.dump()}, model=model, data=data)
    making.make_policy(begun(stage), settings, None)


@pytest.mark.parametrize(
    ("layout", "meant"),
    [("packed", "packed"), ("padded", "padded"), ("auto", "packed")],
)
def test_sequences_are_packed_unless_a_stage_wants_them_padded(
    tmp_path: Path, tiny_model: Path, made: dict[str, Any], layout: str, meant: str
) -> None:
    make(tmp_path, tiny_model, SFT.parse({"layout": layout}))
    assert made["layout"] == meant


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("gpu", [False, True])
def test_what_does_not_fit_is_said_where_there_is_a_gpu(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, gpu: bool
) -> None:
    told: list[tuple[Any, bool]] = []

    def say(_: object, settings: SFT | MathRL, zero: object, *, recompute: bool) -> None:
        told.append((zero, recompute))

    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(making, "say_what_does_not_fit", say)
    make(tmp_path, tiny_model, SFT.parse({"activationCheckpointing": True}))
    assert told == [(None, True)] * gpu
