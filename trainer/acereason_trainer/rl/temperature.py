"""Choosing the sampling temperature by the entropy it gives (AceReason 1.1 section 4.2).

No formula is printed in the paper; the reading here is the mean of -log p_T of sampled tokens, with
states visited at that same T.
"""

from collections.abc import Callable, Sequence

from acereason_trainer.config.rl import EntropyTarget
from acereason_trainer.rl.curriculum import Probe
from acereason_trainer.rl.measure import mean_reward
from acereason_trainer.rl.rollouts import Rollouts


def probe(target: EntropyTarget, draw: Callable[[float], Rollouts]) -> list[Probe]:
    """Draw the probe's responses at each candidate."""
    return [_measure(temperature, draw(temperature)) for temperature in target.candidates]


def choose_temperature(probes: Sequence[Probe], target: EntropyTarget) -> float:
    """The candidate whose entropy is nearest the target, among those that keep the reward.

    A candidate whose mean reward is more than `max_reward_loss` below the best is left out; of two
    equally near the lower one is taken.
    """
    kept = [p for p in probes if not is_vetoed(p, probes, target)]
    return min(kept, key=lambda p: (abs(p.entropy - target.entropy), p.temperature)).temperature


def is_vetoed(candidate: Probe, probes: Sequence[Probe], target: EntropyTarget) -> bool:
    """Whether a candidate costs too much reward, however well its entropy fits."""
    return candidate.reward < max(p.reward for p in probes) - target.max_reward_loss


def _measure(temperature: float, rollouts: Rollouts) -> Probe:
    logprobs = [lp for r in rollouts.flat for lp in r.completion.logprobs]
    entropy = -sum(logprobs) / len(logprobs)
    return Probe(temperature=temperature, entropy=entropy, reward=mean_reward(rollouts.flat))
