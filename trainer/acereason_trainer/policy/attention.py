"""Attention within each document of a row in which several stand behind one another.

No token of another document is looked at, so none is computed and no mask is made: a mask of T
tokens takes T x T bytes, 1 GiB at 32K. On a GPU with half-precision numbers it is one call of
torch's variable-length flash attention; elsewhere one call per document.
"""

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.stage import StageFailure

NAME = "acereason_documents"
"""Of this attention, among those of transformers."""


@dataclass
class Documents:
    """Where the documents of one row begin and end."""

    ends: tuple[int, ...]
    """0, then the end of each."""
    on_device: Tensor
    """The same as int32 [documents + 1], where the row is."""
    uses: int = 0
    """How many layers have looked at it."""

    @classmethod
    def of(cls, lengths: list[int], device: torch.device) -> "Documents":
        """Documents of these lengths, behind one another."""
        ends = (0, *accumulate(lengths))
        return cls(ends, torch.tensor(ends, dtype=torch.int32, device=device))

    @property
    def longest(self) -> int:
        """Tokens of the longest."""
        return max(end - start for start, end in pairwise(self.ends))


def attend_by_document(model: Any) -> None:
    """Let a model's layers attend by document where they are told of documents.

    Everywhere else they attend as before, to the last bit. Raises StageFailure for a model whose
    attention cannot be exchanged.
    """
    AttentionInterface.register(NAME, document_attention)
    model.set_attn_implementation(NAME)
    if model.config.get_text_config()._attn_implementation != NAME:
        raise _unsupported(model)


def check_used(documents: Documents, model: Any) -> None:
    """Raise StageFailure where no layer of the forward pass looked at the documents: a token would
    have seen those of others."""
    if documents.uses == 0:
        raise _unsupported(model)


def document_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    documents: Documents | None = None,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each document; without documents, torch's own under the mask.

    query: [1, heads, T, d]; key and value: [1, key heads, T, d]. Returns [1, T, heads, d].
    """
    if documents is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **others
        )
    documents.uses += 1
    if _is_flashs(query):
        q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
        out = varlen_attn(
            q,
            k,
            v,
            documents.on_device,
            documents.on_device,
            documents.longest,
            documents.longest,
            scale=scaling,
            window_size=(-1, 0),  # causal
            enable_gqa=query.shape[1] != key.shape[1],
        )
        assert isinstance(out, Tensor)
        return out[None], None
    # Cut apart at once: the gradients of so many slices would each be as long as the row.
    lengths = [end - start for start, end in pairwise(documents.ends)]
    pieces = zip(*(torch.split(x, lengths, dim=2) for x in (query, key, value)), strict=True)
    parts = [
        sdpa_attention_forward(module, q, k, v, None, scaling=scaling)[0] for q, k, v in pieces
    ]
    return torch.cat(parts, dim=1), None


def _is_flashs(query: Tensor) -> bool:
    """Whether flash attention is made for it."""
    return query.is_cuda and query.dtype in (torch.bfloat16, torch.float16)


def _unsupported(model: Any) -> StageFailure:
    return StageFailure(
        ExitCode.BAD_CONFIGURATION,
        "UnsupportedModel",
        f"the {model.config.model_type} model has an attention of its own, which cannot be kept "
        "within a document; set layout: padded",
    )
