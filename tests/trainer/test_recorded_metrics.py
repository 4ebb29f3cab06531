"""The table of metrics and what stages record are the same."""

from pathlib import Path
from typing import Any

import pytest
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.telemetry.metrics import METRICS
from acereason_trainer.telemetry.recorder import MetricsRow, read_metrics

from tests.stage_attempts import a_stage, attempt, write_rows

SAMPLED = {
    "prompting": {"template": "plain"},
    "loading": {"dtype": "float32"},
    "maxResponseTokens": 12,
    "verifier": {"workers": 1},
}
SFT = {
    "optimizer": {"learningRate": 1e-3},
    "budget": {"steps": 2},
    "telemetry": {"peakTflops": 1},
    "rowTokens": 256,
    "rowsPerStep": 1,
    "prompting": {"template": "plain"},
    "loading": {"dtype": "float32"},
    "saving": {"minutesAtRisk": 0},
}
RL = {
    "promptsPerStep": 3,
    "groupSize": {"fixed": 4},
    "temperature": {"targetEntropy": {"candidates": [1.0], "prompts": 1, "samples": 2}},
    "stop": {"steps": 2},
    "dynamicSampling": {"maxRefills": 1},
    "health": {"entropy": {"min": 0.1, "max": 9}, "maxTruncatedShare": 1},
    "telemetry": {"peakTflops": 1},
    "reward": {"function": "tests.trainer.letters:has_an_early_letter"},
    "validation": {"everySteps": 1, "samples": 2, "maxProblems": 2},
    "saving": {"minutesAtRisk": 0},
    **SAMPLED,
}
EVALUATE = {"sets": [{"name": "math", "file": "rows.jsonl", "samples": 1}], **SAMPLED}
OF_AN_ENGINE = {"probe_difference"}
"""What rollout/test_vllm_stage.py finds recorded."""
CURATE = {"passRate": {"samples": 2, "maxCorrect": 1, "minCorrect": 0, **SAMPLED}}


@pytest.mark.usefixtures("importable_rewards")
def test_every_metric_is_recorded_by_some_stage_and_none_that_the_table_lacks(
    tmp_path: Path, tiny_model: Path
) -> None:
    rows = [
        {
            "problem": f"How much are {n} and {n} together?",
            "answer": str(2 * n),
            "response": f"{2 * n} " * 9,
        }
        for n in range(8)
    ]
    recorded = set()
    kinds: dict[str, dict[str, Any]] = {
        "sft": SFT, "mathRL": RL, "evaluate": EVALUATE, "curate": CURATE
    }  # fmt: skip
    for kind, settings in kinds.items():
        store = tmp_path / kind
        data = write_rows(store / "rows.jsonl", rows)
        validation = {"validation": data} if kind == "mathRL" else {}
        stage = a_stage(store, {kind: settings}, model=tiny_model, data=data, **validation)
        assert attempt(stage) == ExitCode.DONE
        for row in read_metrics(store / "work" / "run" / "stage" / "1" / "metrics.jsonl"):
            recorded |= row.keys()
            if kind in ("sft", "mathRL") and "step_seconds" in row:
                says_how_devices_were_used(row)
    assert recorded - {"step"} == METRICS.keys() - OF_AN_ENGINE


def says_how_devices_were_used(row: MetricsRow) -> None:
    assert (row["device_tokens_per_second"] or 0) > 0
    assert 0 < (row["mfu"] or 0) < 1
    assert 0 <= (row["idle_share"] or 0) < 1 and row["idle_share"] is not None
