"""The forward pass of training: log p and entropy of the trained tokens, and nothing else.

Logits are made for trained tokens only, a bounded number at a time (head.py).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from acereason_trainer.policy.attention import Documents, attend_by_document, check_used
from acereason_trainer.policy.head import Head
from acereason_trainer.policy.micro_batches import Layout, to_be_scored


class Scoring(nn.Module):
    """A causal language model that says how likely given tokens are.

    Stays in evaluation mode: dropout would make the sampler's model another one.
    """

    def __init__(self, model: Any, *, recompute: bool, layout: Layout = "packed") -> None:
        """recompute: keep only the input of each layer, and run the layer again in the backward
        pass (activation checkpointing). layout: of the micro-batches to come."""
        super().__init__()
        self.model = model
        self.head = Head(model.get_output_embeddings())
        self._recomputed: list[nn.Module] = []
        if layout == "packed":
            attend_by_document(model)
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
        documents: Documents | None,
        rows: Tensor,
        columns: Tensor,
        targets: Tensor,
        temperature: float,
    ) -> tuple[Tensor, Tensor]:
        """log p [n] and full-vocabulary entropy [n] (no gradient) of n trained tokens.

        The arguments are those of a MicroBatch, by the same names.
        """
        told: dict[str, Any] = {"attention_mask": mask}
        if documents is not None:
            # A mask that is ready made: without one, transformers would make T x T bytes of it.
            ready = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=tokens.device)
            told = {"attention_mask": ready, "documents": documents}
        with self._recomputing():
            hidden = self.model.base_model(
                input_ids=tokens, position_ids=positions, use_cache=False, **told
            ).last_hidden_state[rows, columns]
        if documents is not None:
            check_used(documents, self.model)
        scored: tuple[Tensor, Tensor] = self.head(hidden, targets, temperature)
        return scored

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


def logprobs_of(
    scoring: Callable[..., Any],
    sequences: Sequence[Sequence[int]],
    device: torch.device,
    layout: Layout,
) -> list[Tensor]:
    """log p of each token after the first, at temperature 1, on the CPU: in one pass, for which
    weights that are spread are gathered once. scoring: called as Scoring is."""
    logprobs, _ = scoring(*to_be_scored(sequences, device, layout).inputs, 1.0)
    return list(logprobs.cpu().split([len(s) - 1 for s in sequences]))
