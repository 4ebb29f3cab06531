"""Documents of a packed row look at themselves alone, by either way of computing it."""

import inspect
from itertools import pairwise
from typing import Any

import pytest
import torch
from acereason_trainer.policy import attention
from acereason_trainer.policy.attention import Documents, document_attention
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn

from tests.devices import DEVICES

LENGTHS = [5, 1, 9]
HEADS, WIDTH = 4, 8


class Layer(nn.Module):
    """What transformers' attention asks of a layer."""

    is_causal = True

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.num_key_value_groups = groups


def as_flash_would(*told: Any, **named: Any) -> Tensor:
    """What torch promises of `varlen_attn`, written out: CPUs have no kernel for it.

    q [T, heads, d], k and v [T, key heads, d], ends of documents as cumulated lengths.
    """
    call = inspect.signature(varlen_attn).bind(*told, **named).arguments
    q, k, v = (call[name] for name in ("query", "key", "value"))
    assert torch.equal(call["cu_seq_q"], call["cu_seq_k"])
    assert call["cu_seq_q"].dtype == torch.int32
    assert call["max_q"] == call["max_k"] == max(LENGTHS)
    assert call["window_size"] == (-1, 0), "causal, by torch's documentation"
    if call["enable_gqa"]:
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    scale = call["scale"] or WIDTH**-0.5
    out = []
    for start, end in pairwise(call["cu_seq_q"].tolist()):
        mine, keys, values = (x[start:end].transpose(0, 1) for x in (q, k, v))
        later = torch.ones(end - start, end - start).triu(1).bool()
        scores = (mine @ keys.transpose(1, 2) * scale).masked_fill(later, -torch.inf)
        out.append((scores.softmax(-1) @ values).transpose(0, 1))
    return torch.cat(out)


@pytest.mark.parametrize("key_heads", [HEADS, 2])
@pytest.mark.parametrize("scaling", [None, 0.5])
def test_flash_is_told_what_documents_are_and_gives_what_they_give_one_by_one(
    monkeypatch: pytest.MonkeyPatch, key_heads: int, scaling: float | None
) -> None:
    """Arguments are held against torch's signature and documentation; the kernel needs a GPU."""
    torch.manual_seed(0)
    tokens = sum(LENGTHS)
    told = [
        torch.randn(1, heads, tokens, WIDTH, requires_grad=True)
        for heads in (HEADS, key_heads, key_heads)
    ]
    layer = Layer(HEADS // key_heads)

    def attended() -> list[Tensor]:
        documents = Documents.of(LENGTHS, torch.device("cpu"))
        out, _ = document_attention(layer, *told, None, documents, scaling)
        assert out.shape == (1, tokens, HEADS, WIDTH)
        return [out, *torch.autograd.grad(out.square().sum(), told)]

    one_by_one = attended()
    monkeypatch.setattr(attention, "_is_flashs", lambda query: True)
    monkeypatch.setattr(attention, "varlen_attn", as_flash_would)
    for theirs, ours in zip(one_by_one, attended(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("key_heads", [HEADS, 2])
def test_a_document_among_others_is_attended_to_as_alone(device: str, key_heads: int) -> None:
    """In bfloat16: on a GPU that is the kernel itself."""
    torch.manual_seed(0)
    layer, width = Layer(HEADS // key_heads), 64
    told = [
        torch.randn(
            1, heads, sum(LENGTHS), width, device=device, dtype=torch.bfloat16, requires_grad=True
        )
        for heads in (HEADS, key_heads, key_heads)
    ]
    documents = Documents.of(LENGTHS, torch.device(device))
    together, _ = document_attention(layer, *told, None, documents, None)
    together_by = torch.autograd.grad(together.float().square().sum(), told)
    alone = []
    for start, end in pairwise(documents.ends):
        q, k, v = (x[:, :, start:end].float() for x in told)
        k, v = (x.repeat_interleave(HEADS // key_heads, dim=1) for x in (k, v))
        later = torch.ones(end - start, end - start, device=device).triu(1).bool()
        scores = (q @ k.mT * width**-0.5).masked_fill(later, -torch.inf)
        alone.append((scores.softmax(-1) @ v).transpose(1, 2))
    one_by_one = torch.cat(alone, dim=1)
    torch.testing.assert_close(together.float(), one_by_one, atol=0.03, rtol=0.03)
    for ours, theirs in zip(
        together_by, torch.autograd.grad(one_by_one.square().sum(), told), strict=True
    ):
        torch.testing.assert_close(ours.float(), theirs.float(), atol=0.1, rtol=0.05)
