"""Choosing the sampling temperature by the entropy it gives (AceReason 1.1 section 4.2).

No formula is printed in the paper; the reading here is the mean of -log p_T of sampled tokens, with
states visited at that same T.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from acereason_trainer.config.rl import EntropyTarget
from acereason_trainer.rl.measure import mean_reward
from acereason_trainer.rl.rollouts import Rollouts


@dataclass(frozen=True)
class Probe:
    """What one candidate temperature gave."""

    temperature: float
    entropy: float
    reward: float


def probe(target: EntropyTarget, draw: Callable[[float], Rollouts]) -> list[Probe]:
    """Draw the probe's responses at each candidate."""
    return [_measure(temperature, draw(temperature)) for temperature in target.candidates]


def choose_temperature(probes: Sequence[Probe], target: EntropyTarget) -> float:
    """The candidate whose entropy is nearest the target, among those that keep the reward.

    A candidate whose mean reward is more than `max_reward_loss` below the best is left out; of two
    equally near the lower one is taken.
    """
    best = max(p.reward for p in probes)
    kept = [p for p in probes if p.reward >= best - target.max_reward_loss]
    return min(kept, key=lambda p: (abs(p.entropy - target.entropy), p.temperature)).temperature


def _measure(temperature: float, rollouts: Rollouts) -> Probe:
    logprobs = [lp for r in rollouts.flat for lp in r.completion.logprobs]
    return Probe(temperature, -sum(logprobs) / len(logprobs), mean_reward(rollouts.flat))
