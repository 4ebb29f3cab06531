"""TRL's log p and entropy, as its GRPO trainer asks for them."""

from collections.abc import Callable
from typing import Any

import torch
from peak import measured
from torch import Tensor
from trl.trainer.utils import add_fused_lm_head


def log_probs_of(model: Any) -> Callable[[Tensor], Tensor]:
    """The head that computes log p in tiles."""
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))

    def log_probs(tokens: Tensor) -> Tensor:
        seen = torch.ones_like(tokens)
        found = model(input_ids=tokens, attention_mask=seen, labels=tokens, fused_lm_head=True)
        return found.log_probs

    return log_probs


if __name__ == "__main__":
    measured(log_probs_of)
