"""What a step of SFT counts as the work of its devices, and as waiting for data."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from acereason_trainer.config.common import Telemetry
from acereason_trainer.policy.flops import Arithmetic, Machinery, arithmetic_of
from acereason_trainer.policy.protocol import Batch
from acereason_trainer.sft.loop import timed, work_of
from acereason_trainer.telemetry.recorder import Recorder, read_metrics

BATCH = Batch(sequences=[[1, 2, 3], [4, 5]], prompt_lengths=[1, 1], token_weights=[])


def test_every_token_is_read_and_trained_and_none_is_drawn() -> None:
    work = work_of(BATCH, Machinery(2, Arithmetic(weights=10, attention=1), 1e12))
    assert (work.tokens, work.drawing_seconds) == (5, 0.0)
    assert (work.devices, work.peak_flops) == (2, 1e12)
    assert work.flops == 3 * (20 * 5 + 2 * (9 + 4))
    assert work_of(BATCH, Machinery(1, None, None)).flops is None


def test_random_weights_that_are_still_to_be_made_have_no_arithmetic(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen2", "num_attention_heads": 2}')
    assert arithmetic_of(tmp_path) is None


def test_waiting_for_a_batch_is_a_phase_of_its_step(tmp_path: Path) -> None:
    def slow() -> Iterator[Batch]:
        for _ in range(2):
            time.sleep(0.002)
            yield BATCH

    settings = Telemetry()
    with Recorder(tmp_path, total=2, unit="steps", settings=settings, key="sft-1") as recorder:
        recorder.start()
        for step, batch in enumerate(timed(slow(), recorder), 1):
            recorder.record(step, {}, work_of(batch, Machinery(1, None, None)))
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2]
    for row in rows:
        assert 0.002 <= (row["data_seconds"] or 0) <= (row["step_seconds"] or 0)
        assert row["idle_share"] == pytest.approx(1.0), "nothing was trained"
