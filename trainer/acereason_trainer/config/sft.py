"""Settings of an `sft` stage: learn from worked answers (AceReason 1.1 section 3)."""

from typing import Annotated

from pydantic import Field, model_validator

from acereason_trainer.config.common import (
    Layout,
    MixPart,
    ModelLoading,
    Prompting,
    Saving,
    Telemetry,
    Zero,
)
from acereason_trainer.config.model import NOT_IN_KEY, Combination, Model
from acereason_trainer.config.one_of import OneOf


class Optimizer(Model):
    """AdamW and its schedule. The papers print a learning rate for RL only; the rest is verl's."""

    learning_rate: float = Field(gt=0, le=1)
    """Peak learning rate."""
    betas: list[Annotated[float, Field(ge=0, lt=1)]] = Field(
        default=[0.9, 0.999], min_length=2, max_length=2
    )
    """Decay of the two moments (verl's, which are torch's)."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay, on matrices only (verl's)."""
    grad_clip: float = Field(default=1.0, gt=0)
    """Largest global gradient norm (verl's, and what comparable recipes use)."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps of linear warm-up: none, as verl; RL's 1e-6 needs none."""
    final_fraction: float = Field(default=1.0, ge=0, le=1)
    """Learning rate at the end as a fraction of the peak, reached along a cosine; 1 is constant
    (what RL uses)."""


class SFTBudget(OneOf):
    """How long to train."""

    epochs: float | None = Field(default=None, gt=0)
    """Passes over the data (1.1: 5; accuracy is flat from 5 to 6)."""
    steps: int | None = Field(default=None, ge=1)
    """Optimizer steps."""


class SFT(Model):
    """Completion-only loss on packed rows; documents are never cut."""

    optimizer: Optimizer = Optimizer(
        learning_rate=1e-4,
        betas=[0.9, 0.95],
        weight_decay=0.1,
        warmup_steps=100,
        final_fraction=0.1,
    )
    """1e-4 lies in the middle of what comparable recipes use; the paper prints none."""
    budget: SFTBudget = SFTBudget(epochs=5)
    """How long to train (1.1 section 3: five epochs, flat after)."""
    row_tokens: int = Field(default=32768, ge=16)
    """Tokens of a packed row; a longer document is dropped and counted. 32768 is the length of the
    papers' last stages."""
    rows_per_step: int = Field(default=64, ge=1)
    """Packed rows of one optimizer step. The paper prints none; 64 full rows are two million
    tokens."""
    tokens_per_micro_batch: int = Field(default=32768, ge=16, json_schema_extra=NOT_IN_KEY)
    """Tokens of one forward and backward pass: one row. Memory, not results up to rounding."""
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
    mix: list[MixPart] = Field(default_factory=list, max_length=16)
    """Resampling by ranges of a column."""
    prompting: Prompting = Prompting()
    """How problems become prompts."""
    loading: ModelLoading = ModelLoading()
    """How the weights are held."""
    saving: Saving = Saving()
    """When resume states are written."""
    telemetry: Telemetry = Telemetry()
    """What is recorded."""

    @model_validator(mode="after")
    def _micro(self) -> "SFT":
        if self.tokens_per_micro_batch < self.row_tokens:
            raise Combination(
                f"{self.tokens_per_micro_batch} is below rowTokens {self.row_tokens}; one packed "
                "row must fit",
                "tokensPerMicroBatch",
                "rowTokens",
            )
        return self

    @model_validator(mode="after")
    def _warmup_ends(self) -> "SFT":
        steps, warmup = self.budget.steps, self.optimizer.warmup_steps
        if steps is not None and warmup >= steps:
            raise Combination(
                f"{warmup} steps of warm-up and the stage ends after {steps}; warm up for fewer",
                "optimizer.warmupSteps",
                "budget",
            )
        return self
