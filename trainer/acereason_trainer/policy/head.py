"""From hidden states to log p and entropy of given tokens, a bounded number of logits at a time.

Logits of 32K tokens over a vocabulary of 152K are 20 GB for each float32 copy. Here they exist in
chunks, forward and again in the backward pass, so memory grows neither with the vocabulary times
the tokens nor with the number of chunks. The arithmetic is autograd's own, step by step; what
several chunks add to the gradient of the output matrix is summed in float32, so that bfloat16 is
rounded to as often as without chunks: once for a product, and once for the sum.
"""

from typing import Any

import torch
from torch import Tensor, nn

LOGITS_AT_ONCE = 2**26
"""Tokens x vocabulary of one chunk: 256 MiB for each of the four or so float32 copies."""


class Head(nn.Module):
    """A model's output matrix, read as log p of tokens instead of as logits.

    It has the matrix's own parameters, so that an engine which gathers a module's weights before
    the module runs (ZeRO-3) does so once for all chunks.
    """

    def __init__(self, output: Any) -> None:
        """output: the linear layer from H to V; its parameters are shared, not copied."""
        super().__init__()
        self.weight = output.weight
        self.bias = output.bias

    def forward(self, hidden: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """log p [n] of targets [n] and full-vocabulary entropy [n] (no gradient), at a temperature.

        hidden: [n, H]. The softmax is float32.
        """
        function: Any = _TokenLogprobs  # torch has no types for `apply`
        scored: tuple[Tensor, Tensor] = function.apply(
            hidden, self.weight, self.bias, targets, temperature
        )
        return scored


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        temperature: float,
    ) -> tuple[Tensor, Tensor]:
        size = max(1, LOGITS_AT_ONCE // weight.shape[0])
        found = hidden.new_empty(len(hidden), dtype=torch.float32)
        entropy = torch.empty_like(found)
        kept = None
        for part in _parts(len(hidden), size):
            log_p = _log_p(hidden[part], weight, bias, temperature)
            found[part] = log_p.gather(1, targets[part, None])[:, 0]
            entropy[part] = -(log_p.exp() * log_p).sum(-1)
            if len(hidden) <= size:
                kept = log_p
        ctx.save_for_backward(hidden, weight, bias, targets, kept)
        ctx.temperature, ctx.size = temperature, size
        ctx.mark_non_differentiable(entropy)
        return found, entropy

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets, kept = ctx.saved_tensors
        of_hidden = torch.empty_like(hidden)
        of_weight: Tensor | None = None
        of_bias: Tensor | None = None
        # From the last chunk to the first, as autograd would: the sums are then the same bits.
        parts = _parts(len(hidden), ctx.size)
        for part in reversed(parts):
            log_p = kept
            if log_p is None:
                log_p = _log_p(hidden[part], weight, bias, ctx.temperature)
            d = torch.zeros_like(log_p).scatter_(1, targets[part, None], gradients[0][part, None])
            d = torch.ops.aten._log_softmax_backward_data(d, log_p, -1, torch.float32)
            d = d.div_(ctx.temperature).to(weight.dtype)
            of_hidden[part] = d.mm(weight)
            del log_p
            of_weight = _sum(of_weight, d.t().mm(hidden[part]), alone=len(parts) == 1)
            if bias is not None:
                of_bias = _sum(of_bias, d.sum(0), alone=len(parts) == 1)
        return of_hidden, _in(weight.dtype, of_weight), _in(weight.dtype, of_bias), None, None


def _sum(before: Tensor | None, more: Tensor, *, alone: bool) -> Tensor:
    """In float32, unless nothing is added: in bfloat16 each chunk's part would be rounded away
    against the sum of those before it."""
    if before is None:
        return more if alone else more.float()
    return before.add_(more)


def _in(dtype: torch.dtype, gradient: Tensor | None) -> Tensor | None:
    return None if gradient is None else gradient.to(dtype)


def _parts(n: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def _log_p(hidden: Tensor, weight: Tensor, bias: Tensor | None, temperature: float) -> Tensor:
    """[n, V] float32."""
    logits = nn.functional.linear(hidden, weight, bias)
    return torch.log_softmax(logits.float().div(temperature), dim=-1)
