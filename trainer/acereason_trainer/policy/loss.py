"""The loss of a micro-batch, how far the sampler is from the model that is trained, and what a step
comes to by them.

Both policies share it. The ratio is p of the trainer, in this very forward pass, over p as the
sampler reported it: not one that is 1 by construction.
"""

import math

import torch
from torch import Tensor

from acereason_trainer.policy.micro_batches import MicroBatch
from acereason_trainer.policy.protocol import Update

FAR = math.log(1.25)
"""A token whose probability differs by more than this factor, up or down, is far from the
sampler's. bfloat16 alone moves a few in a hundred by a tenth."""
TOTALS = 5
"""Sums that a step's metrics are made of."""


def loss_of(part: MicroBatch, logprobs: Tensor) -> Tensor:
    """-sum of weight x log p, over the n trained tokens; logprobs: [n]."""
    return -(weights_of(part, logprobs) * logprobs).sum()


def weights_of(part: MicroBatch, logprobs: Tensor) -> Tensor:
    """[n] weights; under an importance cap times min(p_trainer / p_sampler, cap), no gradient.

    The logarithm is capped, not the ratio: nothing overflows that is cut anyway.
    """
    if part.importance_cap is None or part.sampler_logprobs is None:
        return part.weights
    return part.weights * log_ratio(part, logprobs).clamp(max=math.log(part.importance_cap)).exp()


def log_ratio(part: MicroBatch, logprobs: Tensor) -> Tensor:
    """[n] log of p_trainer / p_sampler, no gradient.

    Engines report NaN for tokens that were all but certain: 0 there.
    """
    if part.sampler_logprobs is None:
        return torch.zeros_like(logprobs)
    return (logprobs.detach() - part.sampler_logprobs).nan_to_num(0.0)


def totals_of(part: MicroBatch, loss: Tensor, logprobs: Tensor, entropy: Tensor) -> Tensor:
    """[TOTALS] of one micro-batch: loss, sum of entropies, sum of mismatch, tokens that are far,
    trained tokens; on the CPU. The mismatch of a token is r - 1 - log r with
    r = p_trainer / p_sampler: never negative."""
    logs = log_ratio(part, logprobs)
    mismatch, far = (torch.expm1(logs) - logs).sum(), (logs.abs() > FAR).float().sum()
    tokens = torch.full_like(far, len(part.targets))
    return torch.stack([loss.detach(), entropy.sum(), mismatch, far, tokens]).cpu()


def update_of(totals: Tensor, norm: float, rate: float) -> Update:
    """What a step did; totals: [TOTALS] of all its micro-batches, in float64."""
    loss, entropy, mismatch, far, tokens = totals.tolist()
    mean = max(tokens, 1.0)
    return Update(
        loss=loss,
        grad_norm=norm,
        learning_rate=rate,
        entropy=entropy / mean,
        mismatch_kl=mismatch / mean,
        tokens=int(tokens),
        mismatch_share=far / mean,
    )
