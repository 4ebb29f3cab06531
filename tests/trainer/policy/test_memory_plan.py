"""What the plan says is what a step takes, at sizes that can be run here."""

from pathlib import Path

import pytest
import torch
from acereason_trainer.config.common import ModelLoading, Zero
from acereason_trainer.config.sft import Optimizer
from acereason_trainer.policy import head, memory_plan
from acereason_trainer.policy.memory_plan import QWEN_7B, QWEN_14B, Shape, plan
from acereason_trainer.policy.protocol import Batch
from acereason_trainer.policy.torch_policy import TorchPolicy
from transformers import AutoModelForCausalLM, Qwen2Config

from tests.peak_memory import peak_of_tensors

SHAPE = Shape(6, 128, 512, 4, 2, 32, 1024, tied=True)
TOKENS, DOCUMENTS = 2048, 8


def a_policy(tiny_model: Path, directory: Path, dtype: str, recompute: bool) -> TorchPolicy:
    config = Qwen2Config(
        vocab_size=SHAPE.vocabulary,
        hidden_size=SHAPE.hidden,
        intermediate_size=SHAPE.intermediate,
        num_hidden_layers=SHAPE.layers,
        num_attention_heads=SHAPE.heads,
        num_key_value_heads=SHAPE.key_heads,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (directory / name).write_bytes((tiny_model / name).read_bytes())
    return TorchPolicy(
        directory,
        loading=ModelLoading(dtype=dtype),
        optimizer=Optimizer(learning_rate=1e-4),
        total_steps=None,
        tokens_per_micro_batch=TOKENS,
        activation_checkpointing=recompute,
        layout="packed",
    )


def a_batch() -> Batch:
    """Two micro-batches: in the second, the gradients of the first are there."""
    length = TOKENS // DOCUMENTS
    sequence = torch.randint(0, SHAPE.vocabulary, (length,)).tolist()
    return Batch(
        sequences=[sequence] * 2 * DOCUMENTS,
        prompt_lengths=[1] * 2 * DOCUMENTS,
        token_weights=[torch.full((length - 1,), 1 / TOKENS)] * 2 * DOCUMENTS,
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("recompute", [False, True])
def test_a_step_takes_what_the_plan_says(
    tiny_model: Path, tmp_path: Path, dtype: str, recompute: bool
) -> None:
    policy = a_policy(tiny_model, tmp_path, dtype, recompute)
    policy.step(a_batch())
    batch = a_batch()
    measured = peak_of_tensors(lambda: policy.step(batch))
    number = {"float32": 4, "bfloat16": 2}[dtype]
    planned = plan(SHAPE, tokens=TOKENS, number=number, recompute=recompute).gpu
    parts = ("gradients", "kept of the tokens", "the output matrix or a layer")
    expected = sum(planned[part] for part in parts)
    assert 0.75 < measured / expected < 1.05, "never more than the plan, and not much less"


def test_the_plan_counts_the_parameters(tiny_model: Path, tmp_path: Path) -> None:
    policy = a_policy(tiny_model, tmp_path, "float32", recompute=False)
    counted = sum(p.numel() for p in policy.model.parameters())
    assert counted == pytest.approx(SHAPE.parameters, rel=0.01)
    assert pytest.approx(7.6e9, rel=0.01) == QWEN_7B.parameters
    assert pytest.approx(14.8e9, rel=0.01) == QWEN_14B.parameters


def test_the_plan_cuts_logits_where_the_head_does() -> None:
    assert memory_plan.LOGITS_AT_ONCE == head.LOGITS_AT_ONCE


@pytest.mark.parametrize("shape", [QWEN_7B, QWEN_14B])
def test_the_papers_models_fit_eight_gpus_at_32k(shape: Shape) -> None:
    memory = plan(shape, tokens=32_768, ranks=8, zero=Zero(stage=3))
    assert sum(memory.gpu.values()) < 72e9
