"""Several optimizer steps for each batch of rollouts: what the papers found to collapse entropy.

For the study alone. The product takes one step for each batch and has no setting for more. Here a
policy stands in the trainer's place that divides every batch into parts and takes a step on each,
one after the other. From the second part on, the responses were drawn from weights that are gone,
so that each token weighs p now / p then times as much, and nothing where PPO would clip it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from acereason_trainer.policy.forward import Scoring
from acereason_trainer.policy.micro_batches import micro_batches
from acereason_trainer.policy.protocol import Batch, Update
from acereason_trainer.rl import loop
from torch import Tensor

CLIP = 0.2
"""PPO's, on both sides."""
TOKENS_AT_ONCE = 8192


class SeveralUpdates:
    """A policy that takes `updates` steps where it is asked for one."""

    def __init__(self, policy: Any, updates: int) -> None:
        self._policy = policy
        self._updates = updates
        self._batches = 0
        self._scoring = Scoring(policy.model, recompute=False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    @property
    def steps(self) -> int:
        """Of the trainer, to which a batch is one."""
        return self._batches

    def step(self, batch: Batch) -> Update:
        """One step for each part; what is told of them is the last one's, and the largest
        gradient. A batch without sequences (no group had a signal) is one step, as it is to the
        trainer."""
        self._batches += 1
        if not batch.sequences:
            update: Update = self._policy.step(batch)
            return update
        updates = [self._step(part) for part in parts_of(batch, self._updates)]
        return replace(updates[-1], grad_norm=max(u.grad_norm for u in updates))

    def _step(self, part: Batch) -> Update:
        assert part.sampler_logprobs is not None
        now = log_probs(self._scoring, part, self._policy.device)
        weights = [
            clipped(w, n - then)
            for w, n, then in zip(part.token_weights, now, part.sampler_logprobs, strict=True)
        ]
        update: Update = self._policy.step(
            replace(part, token_weights=weights, sampler_logprobs=None)
        )
        return update


def clipped(weights: Tensor, log_ratio: Tensor) -> Tensor:
    """PPO's clipped objective has the gradient of weight x ratio x log p, where it is not clipped.

    weights [n] of the tokens, log_ratio [n] of p now over p then.
    """
    ratio = log_ratio.exp()
    gone_far = torch.where(weights > 0, ratio > 1 + CLIP, ratio < 1 - CLIP)
    return torch.where(gone_far, 0.0, weights * ratio)


@torch.no_grad()
def log_probs(scoring: Scoring, batch: Batch, device: torch.device) -> list[Tensor]:
    """log p of every response token under the weights of now, by sequence."""
    lengths = [len(w) for w in batch.token_weights]
    # Micro-batches order sequences as they like: each token's number goes along as its weight.
    numbers = torch.split(torch.arange(sum(lengths), dtype=torch.float32), lengths)
    found = torch.empty(sum(lengths))
    for part in micro_batches(replace(batch, token_weights=numbers), TOKENS_AT_ONCE, device):
        found[part.weights.long().cpu()] = scoring(*part.inputs, batch.temperature)[0].cpu()
    return list(torch.split(found, lengths))


def parts_of(batch: Batch, number: int) -> Iterator[Batch]:
    """The batch in at most `number` consecutive parts of like size. Each weighs as the whole does,
    whatever its share of it."""
    size = -(-len(batch.sequences) // number)
    for start in range(0, len(batch.sequences), size):
        some = slice(start, start + size)
        sequences = batch.sequences[some]
        share = len(sequences) / len(batch.sequences)
        assert batch.sampler_logprobs is not None
        yield replace(
            batch,
            sequences=sequences,
            prompt_lengths=batch.prompt_lengths[some],
            token_weights=[w / share for w in batch.token_weights[some]],
            sampler_logprobs=batch.sampler_logprobs[some],
        )


@contextmanager
def several_updates(number: int) -> Iterator[None]:
    """RL stages of this process take so many steps for each batch."""
    stage: Any = loop
    make = stage.make_policy
    try:
        if number > 1:
            stage.make_policy = lambda *told: SeveralUpdates(make(*told), number)
        yield
    finally:
        stage.make_policy = make
