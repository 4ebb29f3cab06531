"""What the plan says of ranks with ZeRO is what they have, in a step and beside a sampler, and in
the host's memory."""

import json
from pathlib import Path

import pytest
from acereason_trainer.config.common import Zero
from acereason_trainer.policy import memory_plan
from acereason_trainer.policy.memory_plan import MASTER, plan

from tests.trainer.pairs import run_ranks
from tests.trainer.policy.ranks_measured import BUCKET, GATHERED, TOKENS
from tests.trainer.policy.small_shape import SHAPE, save_model

pytestmark = pytest.mark.slow
"""About 60 s of CPU: two processes import torch and DeepSpeed, and take two steps in each case."""
RANKS = 2


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> dict[str, dict[str, int]]:
    directory = tmp_path_factory.mktemp("measured")
    save_model(directory / "model", tiny_model)
    run_ranks("tests.trainer.policy.ranks_measured", [str(directory)], world=RANKS)
    told: dict[str, dict[str, int]] = json.loads((directory / "measured.json").read_text())
    return told


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize(("dtype", "number"), [("float32", 4), ("bfloat16", 2)])
def test_ranks_take_what_the_plan_says(
    found: dict[str, dict[str, int]],
    monkeypatch: pytest.MonkeyPatch,
    stage: int,
    dtype: str,
    number: int,
) -> None:
    monkeypatch.setattr(memory_plan, "BUCKET", BUCKET)
    monkeypatch.setattr(memory_plan, "GATHERED", GATHERED)
    case = found[f"{stage} {dtype}"]
    planned = plan(
        SHAPE,
        tokens=TOKENS,
        ranks=RANKS,
        ranks_per_node=RANKS,
        zero=Zero(stage=stage),
        number=number,
        recompute=True,
        drawn=1,
    )
    step = case["between"] + case["made"]
    trained = sum(planned.gpu.values()) - memory_plan.ENGINE_ASLEEP
    assert 0.75 < step / trained < 1.05, "never more, and not much less"
    gathered = number * GATHERED if stage == 3 else 0
    bucket = MASTER * BUCKET if stage == 3 else 0  # DeepSpeed lets go of it where there is a GPU
    assert 0.75 < (case["beside"] - bucket) / (planned.beside_engine - gathered) < 1.05
    copied, waiting = planned.host[memory_plan.COPY], planned.host[memory_plan.WAITS]
    assert case["copied"] == pytest.approx(copied, rel=0.01)
    assert case["waiting"] == pytest.approx(waiting, rel=0.01)
