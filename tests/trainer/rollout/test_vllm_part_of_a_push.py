"""vLLM does not go on with weights of which a push has left some out."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from acereason_trainer.config.common import ModelLoading
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.sft import Optimizer
from acereason_trainer.policy.torch_policy import TorchPolicy
from acereason_trainer.stage import StageFailure, StopFlag
from torch import Tensor

from tests.trainer.rollout.vllm_models import a_model, a_vllm_sampler

LEFT_OUT = "model.layers.1.self_attn.v_proj.weight"
"""vLLM has it in one matrix with queries and keys."""


class Forgetful(TorchPolicy):
    """Hands over all weights but one."""

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        yield from ((name, w) for name, w in super().weights() if name != LEFT_OUT)


@pytest.mark.slow
def test_a_push_that_leaves_out_a_weight_ends_the_stage(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 to 60 s: an engine starts."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    directory = a_model(tmp_path / "model", tiny_model, tied=False)
    sampler = a_vllm_sampler(tmp_path / "store", directory, StopFlag())
    policy = Forgetful(
        directory,
        loading=ModelLoading(dtype="float32"),
        optimizer=Optimizer(learning_rate=1e-3),
        total_steps=None,
        tokens_per_micro_batch=512,
    )
    try:
        with pytest.raises(
            StageFailure, match=r"without all weights of .*layers\.1.*qkv_proj"
        ) as e:
            sampler.push(policy, 0)
    finally:
        sampler.close()
    assert (e.value.code, e.value.reason) == (ExitCode.BAD_CONFIGURATION, "SamplerRefused")
