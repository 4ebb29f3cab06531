"""Settings of an `evaluate` stage: avg@k with its standard error, unbiased pass@k."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from acereason_trainer.config.common import (
    ModelLoading,
    Prompting,
    Sampling,
    Telemetry,
    Verifier,
)
from acereason_trainer.config.forms import SHORT_NAME
from acereason_trainer.config.model import IN_KEY_WHEN_SET, NOT_IN_KEY, Combination, Model
from acereason_trainer.config.vllm import VLLM, Engine, require_vllm


class EvaluationSet(Model):
    """One benchmark inside the stage's data."""

    name: str = Field(pattern=SHORT_NAME)
    """Name in tables, metrics and reports."""
    file: str = Field(min_length=1, max_length=256)
    """JSONL or parquet file inside the data artifact."""
    samples: int = Field(default=4, ge=1, le=4096)
    """Answers per problem: k of avg@k (the papers: 64 for AIME, 8 for LiveCodeBench, 4 else)."""
    max_problems: int | None = Field(default=None, ge=1)
    """Use only this many problems, chosen by the seed; unset: all."""


class Evaluate(Model):
    """Measures one checkpoint on held-out problems (1.0 section 4.1)."""

    sets: list[EvaluationSet] = Field(min_length=1, max_length=64)
    """Benchmarks."""
    pass_at: list[Annotated[int, Field(ge=1)]] = Field(default_factory=list, max_length=16)
    """k values of pass@k; each needs at least as many samples."""
    max_response_tokens: int = Field(default=32768, ge=1)
    """Length limit of an answer."""
    sampling: Sampling = Sampling()
    """How answers are drawn."""
    prompting: Prompting = Prompting()
    """How problems become prompts."""
    loading: ModelLoading = ModelLoading()
    """How the weights are held."""
    verifier: Verifier = Verifier()
    """Who checks answers."""
    math_grader: Literal["training", "toolkit"] = "training"
    """Who decides whether a math answer is right. `training`: as the reward does. `toolkit`: by the
    looser rules of the papers' evaluation toolkit (a relative tolerance of 1e-4, a hundredth or a
    hundredfold, bold text without a box), for comparison with published figures."""
    code_comparator: Literal["exact", "lcb"] = "exact"
    """Who decides whether a program's output is right. `exact`: as in training, with a problem's
    own tolerance. `lcb`: LiveCodeBench's rules, for comparison with published figures."""
    sampler: Engine = Field(default="transformers", json_schema_extra=IN_KEY_WHEN_SET)
    """Engine of the answers, as in RL: `transformers` draws the same bits each time, `vllm` is far
    faster on GPUs. With either, every GPU of the stage draws its share."""
    vllm: VLLM | None = Field(default=None, json_schema_extra=NOT_IN_KEY)
    """How `sampler: vllm` runs. Unset: its defaults."""
    sequences_per_batch: int = Field(default=64, ge=1)
    """Sequences decoded together by the transformers sampler."""
    keep_samples: int = Field(default=20, ge=0, json_schema_extra=NOT_IN_KEY)
    """Sample answers per set that the artifact keeps for the report."""
    telemetry: Telemetry = Telemetry()
    """What is recorded."""

    @model_validator(mode="after")
    def _unique(self) -> "Evaluate":
        names = [s.name for s in self.sets]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise Combination(
                f"{', '.join(twice)} is the name of more than one set; give each its own", "sets"
            )
        return self

    @model_validator(mode="after")
    def _vllm_is_the_sampler(self) -> "Evaluate":
        require_vllm(self.sampler, self.vllm)
        return self

    @model_validator(mode="after")
    def _enough_samples(self) -> "Evaluate":
        for k in self.pass_at:
            for s in self.sets:
                if s.samples < k:
                    raise Combination(
                        f"pass@{k} needs at least {k} samples per problem; set {s.name} has "
                        f"{s.samples}: raise its samples or leave {k} out",
                        "passAt",
                        "sets",
                    )
        return self
