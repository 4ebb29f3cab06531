"""Which engine trains a stage."""

from typing import Any

import torch

from acereason_trainer.config.common import Zero
from acereason_trainer.config.rl import RL
from acereason_trainer.config.sft import SFT
from acereason_trainer.config.vllm import VLLM
from acereason_trainer.host_memory import available
from acereason_trainer.policy.loading import DTYPES, device, load_config
from acereason_trainer.policy.memory_check import (
    shape_of,
    what_does_not_fit,
    what_does_not_fit_beside_engines,
)
from acereason_trainer.policy.memory_plan import plan
from acereason_trainer.policy.protocol import Policy
from acereason_trainer.policy.torch_policy import TorchPolicy
from acereason_trainer.stage import StageContext
from acereason_trainer.telemetry.log_line import say


def make_policy(context: StageContext, settings: SFT | RL, total_steps: int | None) -> Policy:
    """The stage's start checkpoint, ready to be trained: by plain torch where there is one rank
    that asks for nothing else, by DeepSpeed otherwise."""
    several = context.peers.world > 1
    zero = settings.zero or (Zero() if several else None)
    recompute = (
        several
        if settings.activation_checkpointing is None
        else bool(settings.activation_checkpointing)
    )
    if context.peers.leads and torch.cuda.is_available():
        _say_what_does_not_fit(context, settings, zero, recompute=recompute)
    told: dict[str, Any] = {
        "loading": settings.loading,
        "optimizer": settings.optimizer,
        "total_steps": total_steps,
        "tokens_per_micro_batch": settings.tokens_per_micro_batch,
        "layout": "padded" if settings.layout == "padded" else "packed",
        "activation_checkpointing": recompute,
        "check_stop": context.check_stop,
    }
    if zero is None:
        return TorchPolicy(context.model_dir, **told)
    from acereason_trainer.policy.zero_policy import ZeroPolicy  # DeepSpeed takes seconds

    return ZeroPolicy(context.model_dir, **told, settings=zero, peers=context.peers)


def _say_what_does_not_fit(
    context: StageContext, settings: SFT | RL, zero: Zero | None, *, recompute: bool
) -> None:
    config = load_config(context.model_dir, settings.loading).get_text_config()
    shape = shape_of(config)
    if shape is None:
        return
    gpu = torch.cuda.get_device_properties(device()).total_memory
    told: dict[str, Any] = {
        "tokens": settings.tokens_per_micro_batch,
        "ranks": context.peers.world,
        "zero": zero,
        "number": DTYPES[settings.loading.dtype].itemsize,
        "recompute": recompute,
    }
    sentences = [what_does_not_fit(shape, gpu=gpu, longest=_longest(settings), **told)]
    if isinstance(settings, RL) and settings.sampler == "vllm":
        memory = plan(shape, ranks_per_node=context.peers.local_world, **told)
        share = (settings.vllm or VLLM()).memory_share
        sentences.append(
            what_does_not_fit_beside_engines(memory, gpu=gpu, memory_share=share, host=available())
        )
    for sentence in sentences:
        if sentence:
            say(sentence)


def _longest(settings: SFT | RL) -> int:
    """Tokens that one sequence may have."""
    if isinstance(settings, SFT):
        return settings.row_tokens
    return settings.max_prompt_tokens + settings.max_response_tokens
