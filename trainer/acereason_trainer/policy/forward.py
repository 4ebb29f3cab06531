"""The forward pass of training: log p and entropy of the trained tokens, and nothing else.

Logits are made for trained tokens only, and where they would be too many, chunk by chunk and again
in the backward pass: 32K tokens of a vocabulary of 152K are 20 GB for each float32 copy.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

LOGITS_AT_ONCE = 2**26
"""Tokens x vocabulary of one chunk of the head: 256 MiB for each float32 copy."""


class Scoring(nn.Module):
    """A causal language model that says how likely given tokens are.

    Stays in evaluation mode: dropout would make the sampler's model another one.
    """

    def __init__(self, model: Any, *, recompute: bool) -> None:
        """recompute: keep only the input of each layer, and run the layer again in the backward
        pass (activation checkpointing)."""
        super().__init__()
        self.model = model
        self._recomputed: list[nn.Module] = []
        if recompute:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            self._recomputed = [
                m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)
            ]

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor | None,
        mask: Tensor | None,
        rows: Tensor,
        columns: Tensor,
        targets: Tensor,
        temperature: float,
    ) -> tuple[Tensor, Tensor]:
        """log p [n] and full-vocabulary entropy [n] (no gradient) of n trained tokens.

        The arguments are those of a MicroBatch, by the same names.
        """
        with self._recomputing():
            hidden = self.model.base_model(
                input_ids=tokens, position_ids=positions, attention_mask=mask, use_cache=False
            ).last_hidden_state[rows, columns]
        head = self.model.get_output_embeddings()
        size = max(1, LOGITS_AT_ONCE // self.model.config.get_text_config().vocab_size)
        if len(hidden) <= size:
            return token_logprobs(head, hidden, targets, temperature)
        chunks = [
            checkpoint(token_logprobs, head, h, t, temperature, use_reentrant=False)
            for h, t in zip(hidden.split(size), targets.split(size), strict=True)
        ]
        return torch.cat([c[0] for c in chunks]), torch.cat([c[1] for c in chunks])

    @contextmanager
    def _recomputing(self) -> Iterator[None]:
        """transformers recomputes layers in training mode only. That mode is the layer's own here,
        not that of the dropout inside of it, and ends with the pass: the sampler's is without."""
        for layer in self._recomputed:
            layer.training = True
        try:
            yield
        finally:
            for layer in self._recomputed:
                layer.training = False


def token_logprobs(
    head: Any, hidden: Tensor, targets: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """log p [n] of targets [n] and full-vocabulary entropy [n] (no gradient), at a temperature.

    hidden: [n, H], head: H to V. The softmax is float32.
    """
    log_p = torch.log_softmax(head(hidden).float() / temperature, dim=-1)
    with torch.no_grad():
        entropy = -(log_p.exp() * log_p).sum(-1)
    return log_p.gather(1, targets[:, None])[:, 0], entropy
