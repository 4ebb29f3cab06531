"""Two ranks choose and publish what one process does, with every option of the step."""

import json
from pathlib import Path

import pytest
from acereason_trainer.config.exit_codes import ExitCode

from tests.stage_attempts import attempt, published
from tests.trainer.test_several_ranks import a_prepared_stage, curve, launched, recorded

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("importable_rewards")]

OPTIONS = {
    "stop": {"steps": 3},
    "dynamicSampling": {"maxRefills": 1},
    "loss": {"importanceCap": 2},
    "validation": {"everySteps": 1, "samples": 4, "heldOutShare": 0.3},
    "checkpoint": "best",
    "health": {"window": 1, "maxTruncatedShare": 0.01, "goOn": ["reward", "truncation"]},
}


def test_two_ranks_publish_the_step_that_one_process_publishes(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """About 20 s of CPU: two processes import torch and DeepSpeed. They learn from the rollouts
    that the one process has drawn."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    alone = a_prepared_stage(tmp_path / "alone", tiny_model, "mathRL", 1, **OPTIONS)
    assert attempt(alone) == ExitCode.DONE
    together = a_prepared_stage(tmp_path / "together", tiny_model, "mathRL", 2, **OPTIONS)
    recorded(together, of=alone)
    record = launched(together)
    assert record.exit_code == ExitCode.DONE, record.log_tail
    said = [json.loads((published(s)[1] / "choice.json").read_text()) for s in (alone, together)]
    assert said[0] == said[1]
    for name in ("loss", "grad_norm", "entropy_exact", "refills", "alarm_truncation"):
        assert curve(together, name) == pytest.approx(curve(alone, name), rel=1e-4, abs=1e-7), name
    assert max(curve(together, "mismatch_share")) == 0
    for share in curve(together, "idle_share"):
        assert share is not None and share < 1, "phases in which the ranks are busy were counted"
