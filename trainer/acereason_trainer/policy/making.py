"""Which engine trains a stage."""

from typing import Any

import torch

from acereason_trainer.config.common import Layout, Zero
from acereason_trainer.config.rl import RL
from acereason_trainer.config.sft import SFT
from acereason_trainer.policy import micro_batches
from acereason_trainer.policy.loading import device
from acereason_trainer.policy.protocol import Policy
from acereason_trainer.policy.torch_policy import TorchPolicy
from acereason_trainer.stage import StageContext


def make_policy(context: StageContext, settings: SFT | RL, total_steps: int | None) -> Policy:
    """The stage's start checkpoint, ready to be trained: by plain torch where there is one rank
    that asks for nothing else, by DeepSpeed otherwise."""
    several = context.peers.world > 1
    recompute = settings.activation_checkpointing
    told: dict[str, Any] = {
        "loading": settings.loading,
        "optimizer": settings.optimizer,
        "total_steps": total_steps,
        "tokens_per_micro_batch": settings.tokens_per_micro_batch,
        "layout": layout_on(device(), settings.layout),
        "activation_checkpointing": several if recompute is None else recompute,
        "check_stop": context.check_stop,
    }
    if settings.zero is None and not several:
        return TorchPolicy(context.model_dir, **told)
    from acereason_trainer.policy.zero_policy import ZeroPolicy  # DeepSpeed takes seconds

    zero = settings.zero or Zero()
    return ZeroPolicy(context.model_dir, **told, settings=zero, peers=context.peers)


def layout_on(where: torch.device, asked_for: Layout) -> micro_batches.Layout:
    """How sequences lie: as asked for, or what is fast there."""
    if asked_for == "auto":
        return "packed" if where.type == "cuda" else "padded"
    return asked_for
