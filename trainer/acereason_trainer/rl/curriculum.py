"""Where an RL stage is: which prompts come next, at which temperature, and when it ends.

All of it is this one record, saved with every state. The order of an epoch is drawn from names
(stage key, salt, epoch, prompt), so it needs no generator to be saved.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from pydantic import Field

from acereason_trainer.config.model import Model
from acereason_trainer.config.rl import RL
from acereason_trainer.rl.prompts import Prompt
from acereason_trainer.seeds import draw_seed


class Measured(Model):
    """One validation inside the stage."""

    step: int
    """After this step."""
    accuracy: float
    """Mean over problems of the share of right responses."""
    stderr: float
    """Its standard error."""
    scores: dict[str, float] = Field(default_factory=dict)
    """Share of right responses by problem, where a plateau is looked for."""


class Probe(Model):
    """What one candidate temperature gave, before the first step."""

    temperature: float
    """Divides the logits."""
    entropy: float
    """Mean -log p of the sampled tokens, in nats."""
    reward: float
    """Mean over checked responses."""


class Vitals(Model):
    """What the detectors of damage look at, beside the reward."""

    mismatch_kl: float
    """Between trainer and sampler, in nats."""
    entropy: float
    """At the sampling temperature, in nats."""
    truncated_share: float
    """Of the step's responses."""
    tokens: float = 1.0
    """Trained on: the weight of the mismatch in a mean over steps."""


class Rest(Model):
    """What stays when solved prompts leave at the end of an epoch."""

    since: int
    """After this step."""
    reward: float | None
    """What those who stay had earned in that epoch; None: it drew nobody else."""


class Curriculum(Model):
    """State of the loop between two steps."""

    step: int = 0
    """Completed optimizer steps."""
    epoch: int = 0
    """Completed passes over the prompts."""
    batch: int = 0
    """Completed batches of this epoch."""
    refilled: int = 0
    """Prompts of this epoch that were drawn beyond its batches, in the place of others."""
    temperature: float | None = None
    """Chosen by the entropy probe, once."""
    probes: list[Probe] = Field(default_factory=list)
    """What it was chosen from."""
    solved: dict[str, bool] = Field(default_factory=dict)
    """Prompts drawn in this epoch: whether all their rollouts were right."""
    dropped: list[str] = Field(default_factory=list)
    """Prompts that left the stage after an earlier epoch."""
    rest: Rest | None = None
    """Since when the stage draws from the prompts of now, where it drew from more before."""
    lengths: dict[str, float] = Field(default_factory=dict)
    """Mean response tokens of each prompt when it was drawn last."""
    rewards: list[float] = Field(default_factory=list)
    """Mean reward of each step, for the health stop."""
    vitals: list[Vitals] = Field(default_factory=list)
    """Of the last `health.window` steps, where the stage has `health`."""
    validations: list[Measured] = Field(default_factory=list)
    """Validations so far."""
    best_weights: str | None = None
    """Directory of the weights of the best validation, relative to the store, where they are
    kept."""
    earlier_weights: list[str] = Field(default_factory=list)
    """Those of validations that were the best before; most are dropped by now."""
    lost: list[int] = Field(default_factory=list)
    """Steps of validations whose weights nobody has any more, although none at hand were better."""

    @property
    def best(self) -> Measured | None:
        """The validation with the highest accuracy, of equals the first; None before the first.
        Those that are lost count for nothing."""
        there = (v for v in self.validations if v.step not in self.lost)
        return max(there, key=lambda v: v.accuracy, default=None)

    @property
    def measured(self) -> Measured | None:
        """The validation of this step's weights, where there was one."""
        last = self.validations[-1] if self.validations else None
        return last if last and last.step == self.step else None

    def temperature_now(self, stage: RL) -> float:
        """The sampling temperature of the next step."""
        if stage.temperature.fixed is not None:
            return stage.temperature.fixed
        if stage.temperature.per_epoch is not None:
            return stage.temperature.per_epoch[
                min(self.epoch, len(stage.temperature.per_epoch) - 1)
            ]
        if self.temperature is None:
            raise RuntimeError("the temperature probe runs before the first step")
        return self.temperature

    def group_size_now(self, stage: RL) -> int:
        """Responses per prompt of the next step."""
        if stage.group_size.fixed is not None:
            return stage.group_size.fixed
        sizes = stage.group_size.per_epoch or []
        return sizes[min(self.epoch, len(sizes) - 1)]

    def next_prompts(
        self, prompts: Sequence[Prompt], stage: RL, name: tuple[str | int, ...]
    ) -> list[Prompt]:
        """The prompts of the next step, in this epoch's order.

        What is left at the end of an epoch and does not fill a batch waits for the next order; a
        set smaller than a batch is one batch.
        """
        return self.prompts_after(0, prompts, stage, name)[: stage.prompts_per_step]

    def prompts_after(
        self, drawn: int, prompts: Sequence[Prompt], stage: RL, name: tuple[str | int, ...]
    ) -> list[Prompt]:
        """What this epoch's order holds once the open step has drawn so many prompts."""
        active = self.active(prompts)
        order = sorted(
            range(len(active)), key=lambda i: draw_seed(*name, "order", self.epoch, active[i].id, i)
        )
        start = self.batch * stage.prompts_per_step + self.refilled + drawn
        return [active[i] for i in order[start:]]

    def active(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        """Prompts that were not dropped."""
        gone = set(self.dropped)
        return [p for p in prompts if p.id not in gone]

    def after_step(
        self,
        prompts: Sequence[Prompt],
        stage: RL,
        *,
        solved: Mapping[str, bool],
        lengths: Mapping[str, float],
        reward: float,
        refilled: int = 0,
        vitals: Vitals | None = None,
    ) -> "Curriculum":
        """The state after one more step.

        solved, lengths: by prompt that was drawn. refilled: how many of them beyond the batch.
        """
        size, refilled = stage.prompts_per_step, self.refilled + refilled
        ended = (self.batch + 2) * size + refilled > len(self.active(prompts))
        window = stage.health.window if stage.health and vitals else 0
        both = {p: ok and self.solved.get(p, True) for p, ok in solved.items()}
        epoch = {**self.solved, **both}
        leaving = [p for p, ok in epoch.items() if ok] if stage.drop_solved == "perEpoch" else []
        rewards = [*self.rewards, reward]
        drawn = [epoch[p.id] for p in self.active(prompts) if p.id in epoch]
        return self.model_copy(
            update={
                "step": self.step + 1,
                "epoch": self.epoch + ended,
                "batch": 0 if ended else self.batch + 1,
                "refilled": 0 if ended else refilled,
                "solved": {} if ended else epoch,
                "dropped": [*self.dropped, *leaving] if ended else self.dropped,
                "rest": rest_of(rewards, self.batch + 1, drawn) if ended and leaving else self.rest,
                "lengths": {**self.lengths, **lengths},
                "rewards": rewards,
                "vitals": [*self.vitals, vitals][-window:] if window else [],
            }
        )

    def comparable_rewards(self, window: int) -> list[float]:
        """Mean reward of steps that drew from the same prompts as the last one, oldest first.

        Before them stands, for two windows, what these prompts earned before others left.
        """
        if self.rest is None:
            return self.rewards
        before = [] if self.rest.reward is None else [self.rest.reward] * (2 * window)
        return [*before, *self.rewards[self.rest.since :]]

    def finished(self, prompts: Sequence[Prompt], stage: RL) -> bool:
        """Whether the stage's stop rule holds, or nothing is left to learn from."""
        stop = stage.stop
        if not self.active(prompts):
            return True
        if stop.steps is not None:
            return self.step >= stop.steps
        if stop.epochs is not None:
            return self.epoch >= stop.epochs
        assert stop.plateau is not None
        return self.step >= stop.plateau.max_steps or is_flat(
            self.validations, stop.plateau.patience
        )


def rest_of(rewards: Sequence[float], steps: int, solved: Sequence[bool]) -> Rest:
    """What stays of an epoch of so many steps, the last ones, whose solved prompts leave.

    Each of them had earned 1: of a mean m, with a share s of them, the others earned
    (m - s) / (1 - s).
    """
    mean, share = fmean(rewards[-steps:]), fmean(solved)
    reward = (mean - share) / (1 - share) if share < 1 else None
    return Rest(since=len(rewards), reward=reward)


def is_flat(validations: Sequence[Measured], patience: int) -> bool:
    """Whether the last `patience` validations brought no gain."""
    best: Measured | None = None
    without_gain = 0
    for v in validations:
        if best is None or is_gain(v, best):
            best, without_gain = v, 0
        else:
            without_gain += 1
    return without_gain >= patience


def is_gain(now: Measured, best: Measured) -> bool:
    """Whether accuracy rose by more than one standard error of the rise.

    Both measured the same problems, so each is held against itself: problems differ in how hard
    they are by far more than a model gains from one validation to the next.
    """
    rises = [score - best.scores[p] for p, score in now.scores.items() if p in best.scores]
    if len(rises) < 2:  # one problem, or a state from before scores were kept
        return now.accuracy > best.accuracy + now.stderr
    return fmean(rises) > stdev(rises) / math.sqrt(len(rises))


def planned_steps(prompts: int, stage: RL) -> int | None:
    """Optimizer steps of the stage, where its stop rule tells. Of epochs they are the most: solved
    prompts that leave, and refills, make them shorter."""
    if stage.stop.steps is not None:
        return stage.stop.steps
    if stage.stop.epochs is not None:
        return stage.stop.epochs * max(1, prompts // stage.prompts_per_step)
    return stage.stop.plateau.max_steps if stage.stop.plateau else None
