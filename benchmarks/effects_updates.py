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
from acereason_trainer.policy.protocol import Batch, Update
from acereason_trainer.rl import loop
from torch import Tensor

from benchmarks.scored import log_probs

CLIP = 0.2
"""PPO's, on both sides."""
PASSED_ON = (
    *("model", "weights", "logprobs", "make_room", "take_room", "room_bytes", "state_bytes"),
    *("save_state", "snapshot", "load_state", "export"),
)
"""What the loop asks of a policy beside a step. Nothing else is the inner policy's to answer: a
step under another name would be one step."""


class SeveralUpdates:
    """A policy that takes `updates` steps where it is asked for one."""

    def __init__(self, policy: Any, updates: int) -> None:
        self._policy = policy
        self._updates = updates
        self._batches = 0
        self._scoring = Scoring(policy.model, recompute=False)
        self.asked = 0
        """Optimizer steps that the batches so far are divided into."""

    def __getattr__(self, name: str) -> Any:
        if name not in PASSED_ON:
            raise AttributeError(f"{name} is nothing that the loop asks of a policy")
        return getattr(self._policy, name)

    @property
    def steps(self) -> int:
        """Of the trainer, to which a batch is one."""
        return self._batches

    @property
    def taken(self) -> int:
        """Optimizer steps that the weights have taken."""
        return int(self._policy.steps)

    def step(self, batch: Batch) -> Update:
        """One step for each part; what is told of them is the last one's, and the largest
        gradient. A batch without sequences (no group had a signal) is one step, as it is to the
        trainer."""
        self._batches += 1
        self.asked += min(self._updates, max(len(batch.sequences), 1))
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


def parts_of(batch: Batch, number: int) -> Iterator[Batch]:
    """The batch in `number` consecutive parts of like size, or in as many as it has sequences. Each
    weighs as the whole does, whatever its share of it."""
    whole = len(batch.sequences)
    number = min(number, whole)
    for part in range(number):
        some = slice(whole * part // number, whole * (part + 1) // number)
        sequences = batch.sequences[some]
        share = len(sequences) / whole
        assert batch.sampler_logprobs is not None
        yield replace(
            batch,
            sequences=sequences,
            prompt_lengths=batch.prompt_lengths[some],
            token_weights=[w / share for w in batch.token_weights[some]],
            sampler_logprobs=batch.sampler_logprobs[some],
        )


@contextmanager
def several_updates(number: int) -> Iterator[list[SeveralUpdates]]:
    """RL stages of this process take so many steps for each batch; gives their policies, as they
    are made.

    Raises RuntimeError where a stage has ended well and they have not taken these steps: the loop
    then has its policy from elsewhere, or asks it otherwise, and has trained with one step a batch.
    """
    stage: Any = loop
    make = stage.make_policy
    policies: list[SeveralUpdates] = []

    def made(*told: Any) -> SeveralUpdates:
        policies.append(SeveralUpdates(make(*told), number))
        return policies[-1]

    try:
        if number > 1:
            stage.make_policy = made
        yield policies
    finally:
        stage.make_policy = make
    asked, taken = (sum(getattr(p, what) for p in policies) for what in ("asked", "taken"))
    if number > 1 and (not asked or taken < asked):
        raise RuntimeError(
            f"{taken} optimizer steps were taken where {number} for each batch make {asked}; does "
            "rl/loop.py still make and ask its policy as benchmarks/effects_updates.py has it?"
        )
