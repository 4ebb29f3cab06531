"""What a stage is told of memory before a model is loaded."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from acereason_trainer.config.rl import MathRL
from acereason_trainer.config.sft import SFT
from acereason_trainer.policy import memory_told
from acereason_trainer.policy.memory_told import say_what_does_not_fit

from tests.stage_attempts import a_stage, begun, write_rows

ROWS = [{"problem": "1 + 1", "answer": "2", "response": "2"}]


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
    kind = "sft" if isinstance(settings, SFT) else "mathRL"
    has = SimpleNamespace(total_memory=int(gpu))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: has)
    monkeypatch.setattr(memory_told, "available", lambda: int(host))
    data = write_rows(tmp_path / "rows.jsonl", ROWS)
    context = begun(a_stage(tmp_path, {kind: settings.dump()}, model=tiny_model, data=data))
    say_what_does_not_fit(context, settings, None, recompute=False)
    lines = [line for line in capsys.readouterr().err.splitlines() if "planned" in line]
    assert len(lines) == len(said), lines
    for sentence, line in zip(said, lines, strict=True):
        assert sentence in line
