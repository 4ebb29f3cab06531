"""Which engine trains a stage."""

from typing import Any

import torch

from acereason_trainer.config.common import Zero
from acereason_trainer.config.rl import RL
from acereason_trainer.config.sft import SFT
from acereason_trainer.policy.memory_told import say_what_does_not_fit
from acereason_trainer.policy.protocol import Policy
from acereason_trainer.policy.torch_policy import TorchPolicy
from acereason_trainer.stage import StageContext


def make_policy(context: StageContext, settings: SFT | RL, total_steps: int | None) -> Policy:
    """The stage's start checkpoint, ready to be trained: by plain torch where there is one rank
    that asks for nothing else, by DeepSpeed otherwise."""
    zero, recompute = resolved(settings, context.peers.world)
    if context.peers.leads and torch.cuda.is_available():
        say_what_does_not_fit(context, settings, zero, recompute=recompute)
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


def resolved(settings: SFT | RL, ranks: int) -> tuple[Zero | None, bool]:
    """What settings that are left open come to with so many ranks: how states are spread over them
    (None: by plain torch, on one), and whether activations are computed anew."""
    several = ranks > 1
    recompute = settings.activation_checkpointing
    return settings.zero or (
        Zero() if several else None
    ), several if recompute is None else recompute
