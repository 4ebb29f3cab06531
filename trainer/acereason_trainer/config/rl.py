"""Settings of a `mathRL` or `codeRL` stage (AceReason 1.0 section 3, 1.1 section 4)."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from acereason_trainer.config.common import (
    ImportPath,
    Layout,
    MixPart,
    ModelLoading,
    Prompting,
    Range,
    Saving,
    Telemetry,
    Verifier,
    Zero,
)
from acereason_trainer.config.model import IN_KEY_WHEN_SET, NOT_IN_KEY, Combination, Model
from acereason_trainer.config.one_of import OneOf
from acereason_trainer.config.sft import Optimizer
from acereason_trainer.config.vllm import VLLM, Engine, require_vllm


class EntropyTarget(Model):
    """Choose the temperature by the entropy it gives (1.1 section 4.2)."""

    entropy: float = Field(default=0.3, gt=0)
    """Temperature-adjusted entropy to come nearest to, in nats per token (1.1 section 4.2: about
    0.3)."""
    candidates: list[Annotated[float, Field(gt=0, le=2)]] = Field(
        default=[0.6, 0.7, 0.8, 0.85, 0.9, 1.0], min_length=1, max_length=16
    )
    """Temperatures that are tried on the stage's own start checkpoint: the papers' range, 0.6 to
    1.0, finer around 1.1's best, 0.85."""
    prompts: int = Field(default=128, ge=1)
    """Prompts of the probe: a step's worth (1.0: 128), which puts the entropy's error far below the
    distance between candidates."""
    samples: int = Field(default=8, ge=1)
    """Responses per prompt of the probe: the papers' smaller group size."""
    max_reward_loss: float = Field(default=0.03, ge=0, le=1)
    """A candidate whose mean reward is this far below the best is left out. In 1.1's comparison
    1.0, which did worse than 0.85, began 3 to 4 points lower."""


class Temperature(OneOf):
    """Divides the logits when sampling and when training."""

    fixed: float | None = Field(default=None, gt=0, le=2)
    """One value (1.1: 0.85 was the best of 0.6, 0.85 and 1.0)."""
    per_epoch: list[Annotated[float, Field(gt=0, le=2)]] | None = Field(
        default=None, min_length=1, max_length=64
    )
    """One value for each pass over the data, the last one from then on (1.0's second code stage
    rises from 0.6 to 1.0)."""
    target_entropy: EntropyTarget | None = None
    """Probe, then fix."""


class GroupSize(OneOf):
    """Responses per prompt."""

    fixed: int | None = Field(default=None, ge=1, le=1024)
    """One value (1.0: 8 in the 8K stage, 16 after)."""
    per_epoch: list[Annotated[int, Field(ge=1, le=1024)]] | None = Field(
        default=None, min_length=1, max_length=64
    )
    """One value for each pass over the data, the last one from then on (8 to 16 in 1.0)."""

    @model_validator(mode="after")
    def _spread(self) -> "GroupSize":
        if self.fixed is not None and self.fixed < 2:
            raise Combination(
                f"{self.fixed} gives no spread to learn from; use 2 or more (the papers: 8 or 16)",
                "fixed",
            )
        if self.per_epoch is not None and min(self.per_epoch) < 2:
            raise Combination(
                f"{min(self.per_epoch)} gives no spread to learn from; use 2 or more "
                "(the papers: 8 or 16)",
                "perEpoch",
            )
        return self


class Plateau(Model):
    """Stop when validation accuracy no longer rises: needs `inputs.validation`."""

    patience: int = Field(default=3, ge=1)
    """Validations in a row without a gain over the best of more than one standard error of that
    gain, problem by problem. One flat validation is chance often, three in a row seldom; the papers
    stop by eye."""
    max_steps: int = Field(ge=1)
    """Stop here at the latest."""


class RLStop(OneOf):
    """When the stage ends."""

    steps: int | None = Field(default=None, ge=1)
    """After this many optimizer steps."""
    epochs: int | None = Field(default=None, ge=1)
    """After this many passes over the prompts. With `dropSolved` or `dynamicSampling` they end
    after fewer steps than progress.json expects."""
    plateau: Plateau | None = None
    """When validation accuracy is flat."""


class Overlong(Model):
    """What a response that hits the length limit teaches."""

    mode: Literal["penalize", "mask"] = "penalize"
    """A truncated response earns 0 in both modes, whatever stands in it. `penalize`: its tokens are
    trained on like those of any wrong response. `mask`: its tokens get no gradient; the two
    switches say where it still counts (1.1: mask below 32K, penalize at 32K)."""
    in_statistics: bool = True
    """With `mask`: does a truncated response count in its group's mean and spread?"""
    in_denominator: bool = True
    """With `mask`: do its tokens count in the loss's denominator?"""


class Loss(Model):
    """Token-level policy gradient, one optimizer step for each batch of rollouts."""

    normalizer: Literal["group", "batch"] = "group"
    """`group`: divide by the tokens of each group, then mean over groups (1.0 equation 3).
    `batch`: divide by all tokens of the step."""
    std: Literal["sample", "population"] = "sample"
    """Standard deviation of the advantage; the paper does not say, `sample` (n - 1) is verl's."""
    importance_cap: float | None = Field(
        default=None, ge=1, le=100, json_schema_extra=IN_KEY_WHEN_SET
    )
    """Truncated importance weights: each token weighs p of trainer / p of sampler times as much,
    and at most so many times. For engines that differ from the trainer by more than rounding (2 is
    usual). Unset: no such weight, and the attempt ends where they differ by more than rounding."""


class DynamicSampling(Model):
    """Other prompts in the place of those that teach nothing (DAPO; not in the papers)."""

    max_refills: int = Field(default=3, ge=1, le=64)
    """How often in one step as many further prompts are drawn as groups without signal are to be
    replaced; then the step is taken with those that have one. Where half of the prompts have a
    signal, 3 leave one group in 16 without. No refill goes beyond the epoch's last prompt."""


class Validation(Model):
    """Accuracy inside the stage, on `inputs.validation` or on problems held out of its own data."""

    every_steps: int = Field(default=50, ge=1)
    """Steps between two validations, of which the first comes before all steps and the last after
    all. The papers' stages take hundreds of steps, so 50 gives several points and costs little of
    their time."""
    samples: int = Field(default=4, ge=1)
    """Responses per problem: 4 take most of the sampling noise out of a problem's score; more
    problems say more than more samples."""
    max_problems: int = Field(default=200, ge=1)
    """Problems used, chosen by the seed. With 200 the standard error of the accuracy is at most 3.5
    points; that of a gain, on the same problems, is smaller."""
    temperature: float = Field(default=0.6, ge=0, le=2)
    """Divides the logits; 0 is greedy. 0.6 is what both papers evaluate at."""
    held_out_share: float | None = Field(
        default=None, gt=0, le=0.5, json_schema_extra=IN_KEY_WHEN_SET
    )
    """Share of the stage's own problems that it validates on and never trains on. Chosen by text
    and seed alone: stages with the same share hold out the same problems, whatever a filter left of
    them. Unset: `inputs.validation`."""


class EntropyBand(Model):
    """Where the entropy of a step is expected, in nats per token."""

    min: float = Field(default=0.05, ge=0)
    """Below it hardly anything else is tried any more; the papers' runs stay above 0.1."""
    max: float = Field(default=1.5, gt=0)
    """Above it responses fall apart; the papers' runs stay below 0.5."""

    @model_validator(mode="after")
    def _ordered(self) -> "EntropyBand":
        if self.min >= self.max:
            raise Combination(
                f"{self.min:g} is not below max {self.max:g}; swap them", "min", "max"
            )
        return self


Detector = Literal["reward", "mismatch", "entropy", "truncation"]


class HealthStop(Model):
    """Ends a stage that is being destroyed, so that it goes on from before the damage."""

    window: int = Field(default=20, ge=1)
    """Steps over which means are compared: over 20 steps of 128 prompts the standard error of the
    mean reward is about a point, and a collapse is still seen within tens of steps."""
    max_reward_drop: float = Field(default=0.5, gt=0, le=1)
    """Stop when the window's mean reward is this fraction below the best window. Harder data or a
    new length cost far less than half; a broken policy loses nearly all."""
    max_mismatch_kl: float | None = Field(default=None, gt=0, json_schema_extra=IN_KEY_WHEN_SET)
    """Stop when the window's mean mismatch KL between trainer and sampler is above this, in nats
    (0.01 is where training is no longer on-policy). Unset: only what is far beyond rounding
    stops."""
    entropy: EntropyBand | None = Field(default=None, json_schema_extra=IN_KEY_WHEN_SET)
    """Stop when the window's mean entropy at the sampling temperature is outside of it."""
    max_truncated_share: float | None = Field(
        default=None, gt=0, le=1, json_schema_extra=IN_KEY_WHEN_SET
    )
    """Stop when more of the window's responses than this hit the length limit. In the papers' first
    stage three in ten do at the start, and that is no fault."""
    go_on: list[Detector] = Field(
        default_factory=list, max_length=4, json_schema_extra=IN_KEY_WHEN_SET
    )
    """Detectors that end nothing: what they find is in the log and in the metrics alone."""

    @model_validator(mode="after")
    def _goes_on_after_what_is_looked_for(self) -> "HealthStop":
        limits = {
            "mismatch": ("maxMismatchKl", self.max_mismatch_kl),
            "entropy": ("entropy", self.entropy),
            "truncation": ("maxTruncatedShare", self.max_truncated_share),
        }
        for detector in self.go_on:
            setting, limit = limits.get(detector, ("", True))
            if limit is None:
                raise Combination(
                    f"{detector} is looked for only where {setting} is set; set it, or leave "
                    f"{detector} out",
                    "goOn",
                    setting,
                )
        return self


class CustomReward(Model):
    """A reward of the user's own beside the two built in."""

    function: ImportPath
    """`package.module:function`, called with (row, response text) and returning 0 to 1, in the
    verifier's worker processes."""
    version: str = Field(default="1", min_length=1, max_length=64)
    """Raise it when the function's results change: it is in the stage key, the code is not."""


class RL(Model):
    """GRPO as in AceReason 1.0: strictly on-policy, no KL, no entropy bonus, reward 0 or 1."""

    optimizer: Optimizer = Optimizer(learning_rate=1e-6)
    """AdamW at a constant 1e-6 for math (1.0 section 3.2.2); code uses 5e-6 (3.3.2)."""
    prompts_per_step: int = Field(default=128, ge=1)
    """Prompts of one step (1.0: 128)."""
    group_size: GroupSize = GroupSize(fixed=16)
    """Responses per prompt (1.0: 16 from its second math stage on, 8 before)."""
    max_prompt_tokens: int = Field(default=2048, ge=1)
    """Longer prompts are dropped and counted. 2048 tokens are some 8000 characters, the longest
    statement that curation's rules let through."""
    max_response_tokens: int = Field(default=32768, ge=1)
    """Length limit of a response: what grows from stage to stage (8K, 16K, 24K, 32K)."""
    temperature: Temperature = Temperature(fixed=0.85)
    """Sampling temperature, used by the loss too."""
    stop: RLStop = RLStop(steps=500)
    """When the stage ends. In 1.0 section 4.3.1 the 16K stage gains for 500 steps, then is flat."""
    overlong: Overlong = Overlong()
    """Truncated responses."""
    loss: Loss = Loss()
    """Normalisation of loss and advantage."""
    dynamic_sampling: DynamicSampling | None = Field(
        default=None, json_schema_extra=IN_KEY_WHEN_SET
    )
    """Replace groups without signal by others. Unset, as in the papers: they stay, count in the
    loss's mean over prompts, and cost no training."""
    where: list[Range] = Field(default_factory=list, max_length=16)
    """Conditions a prompt must all meet (a teacher's failures, tokens, a pass rate)."""
    mix: list[MixPart] = Field(default_factory=list, max_length=16)
    """How often parts of the data are drawn: easy to hard over the stages."""
    drop_solved: Literal["never", "perEpoch"] = "never"
    """`perEpoch`: a prompt whose rollouts of the last epoch were all right leaves the stage (second
    code stage of both papers)."""
    reward: CustomReward | None = None
    """A reward by import path; unset: the built-in one of the domain."""
    validation: Validation | None = None
    """Accuracy inside the stage."""
    checkpoint: Literal["last", "best"] = Field(default="last", json_schema_extra=IN_KEY_WHEN_SET)
    """What is published: the weights of the last step, or those of the best validation (of equals
    the first). Where the problems that it chose by are also reported by an evaluation, the report
    says so. The papers state no rule."""
    health: HealthStop | None = None
    """Detectors of damage. NaN, and a sampler that is not the trainer's model, always stop."""
    sampler: Engine = "transformers"
    """Engine of the rollouts; in the key, since engines differ in the last bits. `transformers`
    decodes with the trainer's own module, the same bits each time. `vllm` is far faster on GPUs;
    its draws have seeds of their own too, but its last bits depend on what is drawn together."""
    vllm: VLLM | None = Field(default=None, json_schema_extra=NOT_IN_KEY)
    """How `sampler: vllm` runs. Unset: its defaults."""
    sequences_per_batch: int = Field(default=64, ge=1)
    """Sequences decoded together by the transformers sampler: 64 of 8K tokens take about 30 GB of
    cache for Qwen2.5-7B. In the key: the batch's shape decides the last bits."""
    tokens_per_micro_batch: int = Field(default=32768, ge=16, json_schema_extra=NOT_IN_KEY)
    """Tokens of one forward and backward pass: one response of 32K. Memory, not results up to
    rounding."""
    zero: Zero | None = Field(default=None, json_schema_extra=NOT_IN_KEY)
    """How several ranks hold the model. Unset: one rank trains with plain torch, several with
    ZeRO's stage 3. Set: also one rank trains with DeepSpeed, for its offload."""
    activation_checkpointing: bool | None = Field(default=None, json_schema_extra=NOT_IN_KEY)
    """Keep only each layer's input and compute the layer again in the backward pass: a third more
    compute, and memory for activations that hardly grows with depth. Unset: with several ranks,
    since models that need them need this too at 32K."""
    layout: Layout = Field(default="packed", json_schema_extra=NOT_IN_KEY)
    """How sequences lie in a forward pass. `packed`: behind one another in one row without padding,
    each attending to itself alone (flash attention where there is a GPU). `padded`: side by side,
    filled up to the longest, and what stands in one row is kept apart by a mask; slower, and for
    models whose attention cannot be exchanged. `auto`: an older word for `packed`. Changes
    rounding, never results."""
    prompting: Prompting = Prompting()
    """How problems become prompts."""
    loading: ModelLoading = ModelLoading()
    """How the weights are held."""
    verifier: Verifier = Verifier()
    """Who checks answers."""
    saving: Saving = Saving()
    """When resume states are written."""
    telemetry: Telemetry = Telemetry()
    """What is recorded."""

    @model_validator(mode="after")
    def _plateau_needs_validation(self) -> "RL":
        if self.stop.plateau is not None and self.validation is None:
            raise Combination(
                "a plateau is seen by validation, which is not set; add validation: "
                "{everySteps: 50} beside stop",
                "stop.plateau",
                "validation",
            )
        return self

    @model_validator(mode="after")
    def _best_needs_validation(self) -> "RL":
        if self.checkpoint == "best" and self.validation is None:
            raise Combination(
                "the best checkpoint is found by validation, which is not set; add validation: "
                "{everySteps: 50} beside checkpoint",
                "checkpoint",
                "validation",
            )
        return self

    @model_validator(mode="after")
    def _vllm_is_the_sampler(self) -> "RL":
        require_vllm(self.sampler, self.vllm)
        return self

    @model_validator(mode="after")
    def _own_reward_stays_here(self) -> "RL":
        if self.reward is not None and self.verifier.service not in ("auto", "local"):
            raise Combination(
                "a reward of your own is code of the stage's image, which a verifier service does "
                "not have; leave service out or set it to local",
                "verifier.service",
                "reward",
            )
        return self

    @model_validator(mode="after")
    def _overlong_switches(self) -> "RL":
        o = self.overlong
        if o.mode == "penalize" and not (o.in_statistics and o.in_denominator):
            raise Combination(
                "inStatistics and inDenominator mean something only with mode: mask; leave them "
                "out or set mode: mask",
                "overlong",
            )
        return self

    @model_validator(mode="after")
    def _decay_ends(self) -> "RL":
        shrinks = self.dynamic_sampling is not None or self.drop_solved == "perEpoch"
        if self.stop.epochs is not None and shrinks and self.optimizer.final_fraction < 1:
            raise Combination(
                "dynamicSampling and dropSolved leave open after how many steps the epochs end, so "
                "the learning rate would not come down to its end; give stop: {steps: ...}, or "
                "leave finalFraction out",
                "optimizer.finalFraction",
                "stop",
            )
        return self

    @model_validator(mode="after")
    def _warmup_ends(self) -> "RL":
        steps = self.stop.plateau.max_steps if self.stop.plateau else self.stop.steps
        if steps is not None and self.optimizer.warmup_steps >= steps:
            raise Combination(
                f"{self.optimizer.warmup_steps} steps of warm-up and the stage ends after {steps}; "
                "warm up for fewer",
                "optimizer.warmupSteps",
                "stop",
            )
        return self


class MathRL(RL):
    """RL on math problems: the last boxed answer after `</think>` against the reference."""


class CodeRL(RL):
    """RL on code problems: the last python block after `</think>` must pass every test."""

    optimizer: Optimizer = Optimizer(learning_rate=5e-6)
    """AdamW at a constant 5e-6 (1.0 section 3.3.2)."""
