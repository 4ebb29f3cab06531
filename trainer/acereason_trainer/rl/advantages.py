"""How much better each response did than its own group, and what each token weighs for it."""

from typing import Literal

import torch
from torch import Tensor

EPSILON = 1e-6
"""Added to the spread, as verl does; the papers print none."""


def group_advantages(
    rewards: Tensor, counted: Tensor, std: Literal["sample", "population"]
) -> Tensor:
    """A = (r - mean(r)) / (std(r) + 1e-6) over the counted responses of a group.

    AceReason 1.0 equation 2; the paper does not say which standard deviation, so `std` does. A
    group without spread gets zeros: it teaches nothing.

    rewards: [P, G] of 0 to 1. counted: [P, G] bool; a response left out (infrastructure error, or
    truncated where the stage says so) gets 0. Returns [P, G] float32.
    """
    kept = counted.double()
    number = kept.sum(1, keepdim=True)
    mean = (rewards.double() * kept).sum(1, keepdim=True) / number.clamp(min=1)
    deviation = (rewards.double() - mean) * kept
    freedom = number - 1 if std == "sample" else number
    spread = (deviation.square().sum(1, keepdim=True) / freedom.clamp(min=1)).sqrt()
    return torch.where(spread > 0, deviation / (spread + EPSILON), 0.0).float()


def token_weights(
    advantages: Tensor,
    lengths: Tensor,
    in_denominator: Tensor,
    normalizer: Literal["group", "batch"],
) -> Tensor:
    """Weight of each token of a response in the loss: its advantage over the normalizer.

    `group` (1.0 equation 3): each group's sum is divided by the group's tokens, then the mean over
    the P groups is taken. `batch`: by all tokens of the step. The denominator is known before the
    backward pass, so micro-batches of any size give the same gradient.

    advantages: [P, G]. lengths: [P, G] tokens. in_denominator: [P, G] bool. Returns [P, G] float32.
    """
    tokens = (lengths * in_denominator).double()
    if normalizer == "batch":
        return (advantages / tokens.sum().clamp(min=1)).float()
    groups = tokens.sum(1, keepdim=True).clamp(min=1)
    return (advantages / groups / len(advantages)).float()
