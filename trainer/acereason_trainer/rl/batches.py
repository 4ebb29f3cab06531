"""Rollouts to the batch of one optimizer step."""

from dataclasses import replace

import torch
from torch import Tensor

from acereason_trainer.config.rl import RL
from acereason_trainer.policy.protocol import Batch
from acereason_trainer.rl.advantages import group_advantages, token_weights
from acereason_trainer.rl.rollouts import Rollouts


def advantages_of(rollouts: Rollouts, stage: RL) -> Tensor:
    """[P, G] advantages; 0 for whatever must not teach: no verdict, or truncated under `mask`."""
    rewards = table(rollouts, "reward").double()
    counted = table(rollouts, "counted").bool()
    if stage.overlong.mode == "mask" and not stage.overlong.in_statistics:
        counted &= ~masked(rollouts, stage)
    advantages = group_advantages(rewards, counted, stage.loss.std)
    return advantages.masked_fill(masked(rollouts, stage), 0.0)


def masked(rollouts: Rollouts, stage: RL) -> Tensor:
    """[P, G] bool: responses that are left out of the loss."""
    unchecked = ~table(rollouts, "counted").bool()
    if stage.overlong.mode == "penalize":
        return unchecked
    return unchecked | table(rollouts, "truncated").bool()


def assemble(rollouts: Rollouts, advantages: Tensor, stage: RL, temperature: float) -> Batch:
    """The responses that teach something, with one weight for all tokens of each.

    A response of advantage 0 has no gradient, so its forward pass is left out; its tokens count in
    the denominator all the same. With dynamic sampling groups without signal count nowhere: others
    were drawn in their place.
    """
    if stage.dynamic_sampling is not None and advantages.any():
        rollouts, advantages = with_signal(rollouts, advantages)
    lengths = torch.tensor([[len(r.completion.tokens) for r in g] for g in rollouts.groups])
    in_denominator = table(rollouts, "counted").bool()
    if stage.overlong.mode == "mask" and not stage.overlong.in_denominator:
        in_denominator &= ~table(rollouts, "truncated").bool()
    weights = token_weights(advantages, lengths, in_denominator, stage.loss.normalizer).flatten()
    taught = [(r.completion, w) for r, w in zip(rollouts.flat, weights, strict=True) if w != 0]
    return Batch(
        sequences=[(*c.request.prompt, *c.tokens) for c, _ in taught],
        prompt_lengths=[len(c.request.prompt) for c, _ in taught],
        token_weights=[w.expand(len(c.tokens)) for c, w in taught],
        temperature=temperature,
        sampler_logprobs=[torch.tensor(c.logprobs) for c, _ in taught],
        importance_cap=stage.loss.importance_cap,
    )


def with_signal(rollouts: Rollouts, advantages: Tensor) -> tuple[Rollouts, Tensor]:
    """The groups that teach something, and their rows of the [P, G] advantages."""
    kept = advantages.any(1)
    groups = [g for g, keep in zip(rollouts.groups, kept.tolist(), strict=True) if keep]
    return replace(rollouts, groups=groups), advantages[kept]


def table(rollouts: Rollouts, attribute: str) -> Tensor:
    """[P, G] one number of each response."""
    return torch.tensor([[float(getattr(r, attribute)) for r in g] for g in rollouts.groups])
