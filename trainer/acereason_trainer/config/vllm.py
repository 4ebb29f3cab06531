"""Settings of vLLM: one engine for each rank, or for each few of them."""

from typing import Literal

from pydantic import Field

from acereason_trainer.config.model import NOT_IN_KEY, Combination, Model

Engine = Literal["transformers", "vllm"]
"""What draws a stage's responses."""


class VLLM(Model):
    """How vLLM draws. Changes speed and the last bits, never what is drawn from."""

    tensor_parallel: int = Field(default=1, ge=1, le=64, json_schema_extra=NOT_IN_KEY)
    """Ranks of one node whose GPUs one engine is spread over; there are as many engines as that
    leaves. It must divide the ranks of a node and the model's attention heads. 1 is fastest where a
    GPU has room for the weights and a cache: 7B on 80 GB has."""
    max_sequences: int = Field(default=256, ge=1, le=16384, json_schema_extra=NOT_IN_KEY)
    """Responses that one engine decodes at once. More than its cache has room for wait by
    themselves."""
    memory_share: float = Field(default=0.7, gt=0, lt=1, json_schema_extra=NOT_IN_KEY)
    """Share of a GPU's memory for weights and cache while responses are drawn. The rest is for
    what of the trainer stays there then: its share of the weights, and what it has whole at once
    while it hands them over. While training, weights and cache are given back; CUDA's
    context and the graphs of the engine's steps stay. Where a model is only measured, nothing of
    it stays beside an engine."""
    cache_gib: float | None = Field(default=None, gt=0, le=4096, json_schema_extra=NOT_IN_KEY)
    """GiB of the cache of keys and values on each GPU of an engine, in the place of what
    `memoryShare` leaves. Unset on a CPU: 1."""
    patience_seconds: float = Field(default=600.0, ge=1, le=86400, json_schema_extra=NOT_IN_KEY)
    """How long an engine may take to start or to take on weights, and how long it may give no sign
    of life while it draws. Then it counts as dead, and the attempt ends to be tried again. Loading
    and compiling a 14B model takes some minutes."""
    probe_limit: float | None = Field(default=None, gt=0, le=10, json_schema_extra=NOT_IN_KEY)
    """Mean difference of the engine's and the trainer's logprobs, in nats, above which a push
    counts as not arrived. Unset: 0.001 in float32, 0.15 in bfloat16 (docs/health.md says what was
    measured). Raise it where a deeper model's rounding alone comes to more."""


def require_vllm(sampler: Engine, vllm: VLLM | None) -> None:
    """Raise Combination where an engine has settings that is not the stage's."""
    if vllm is not None and sampler != "vllm":
        raise Combination(
            "means something only with sampler: vllm; set that, or leave vllm out",
            "vllm",
            "sampler",
        )
