"""Which policy a stage gets, and what it is told of memory before a model is loaded."""

from pathlib import Path
from types import SimpleNamespace
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
@pytest.mark.parametrize(
    ("gpu", "host", "settings", "said"),
    [
        (80e9, 1e12, SFT(), []),
        (1e6, 1e12, SFT(), ["a step is planned to take"]),
        (80e9, 1e12, MathRL.parse({"sampler": "vllm"}), []),
        (
            1e5,
            1e6,
            MathRL.parse({"sampler": "vllm"}),
            [
                "a step with a sequence of",
                "are planned to stay on each GPU while vllm draws",
                "are planned to be in the host's memory",
            ],
        ),
    ],
    ids=["SFT fits", "SFT does not", "RL fits", "nothing of RL does"],
)
def test_on_a_gpu_everything_that_is_planned_not_to_fit_is_said_at_once(
    tmp_path: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    gpu: float,
    host: float,
    settings: SFT | MathRL,
    said: list[str],
) -> None:
    has = SimpleNamespace(total_memory=int(gpu))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: has)
    monkeypatch.setattr(making, "available", lambda: int(host))
    make(tmp_path, tiny_model, settings)
    lines = [line for line in capsys.readouterr().err.splitlines() if "planned" in line]
    assert len(lines) == len(said), lines
    for sentence, line in zip(said, lines, strict=True):
        assert sentence in line
