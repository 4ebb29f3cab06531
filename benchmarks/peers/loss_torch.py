"""Plain torch: all logits at once, as a model's own forward pass gives them."""

from collections.abc import Callable
from typing import Any

import torch
from peak import measured
from torch import Tensor


def log_probs_of(model: Any) -> Callable[[Tensor], Tensor]:
    """log softmax over the vocabulary, then the tokens' own."""

    def log_probs(tokens: Tensor) -> Tensor:
        logits = model(input_ids=tokens, use_cache=False).logits[:, :-1]
        return torch.log_softmax(logits.float(), -1).gather(2, tokens[:, 1:, None])[..., 0]

    return log_probs


if __name__ == "__main__":
    measured(log_probs_of)
