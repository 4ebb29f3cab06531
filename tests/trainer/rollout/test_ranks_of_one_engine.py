"""A rank without an engine of its own takes part in all that its engine's rank needs it for."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
from acereason_trainer.config.common import ModelLoading
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.sft import Optimizer
from acereason_trainer.policy.torch_policy import TorchPolicy

from tests.trainer.pairs import run_ranks
from tests.trainer.policy.batches import OPTIMIZER, a_batch
from tests.trainer.rollout.ranks_of_one_engine import REQUESTS


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_ranks_push_to_one_engine_draw_from_it_and_end_as_one_when_it_fails(
    tmp_path: Path, tiny_model: Path
) -> None:
    """About 60 s of CPU: two processes import torch and DeepSpeed, an engine transformers. The
    limit is for a rank that would gather weights alone, for half an hour."""
    shutil.copytree(tiny_model, tmp_path / "model")
    run_ranks("tests.trainer.rollout.ranks_of_one_engine", [str(tmp_path)])
    first, second = (json.loads((tmp_path / f"rank-{n}.json").read_text()) for n in range(2))
    assert (first["draws"], second["draws"]) == (True, False)
    assert first["heard"] == sorted([*range(len(REQUESTS))] * 2)
    assert second["heard"] == []
    assert first["differences"] == pytest.approx([0, 0], abs=1e-5)
    assert first["end"] == second["end"]
    assert first["end"] == [
        ExitCode.TEMPORARY,
        "SamplerDied",
        "the vLLM engine of rank 0 ended: RuntimeError: as a GPU may",
    ]
    alone = TorchPolicy(
        tiny_model,
        loading=ModelLoading(dtype="float32"),
        optimizer=Optimizer(**OPTIMIZER),
        total_steps=None,
        tokens_per_micro_batch=64,
    )
    updates = [asdict(alone.step(a_batch(seed=seed))) for seed in range(2)]
    for found in (first, second):
        for ours, theirs in zip(found["updates"], updates, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-7)
