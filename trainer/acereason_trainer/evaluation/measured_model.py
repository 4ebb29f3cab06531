"""A model that is measured and not trained: weights and tokenizer, no optimizer."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acereason_trainer.config.common import ModelLoading
from acereason_trainer.policy.loading import load_model, load_tokenizer
from acereason_trainer.rollout.transformers_sampler import TransformersSampler


@dataclass(frozen=True)
class MeasuredModel:
    """What a sampler draws from, and what renders its prompts."""

    model: Any
    """The torch module."""
    tokenizer: Any
    """Its tokenizer."""


def load_measured_model(directory: Path, loading: ModelLoading) -> MeasuredModel:
    """The model of an artifact's directory, on its device."""
    return MeasuredModel(load_model(directory, loading), load_tokenizer(directory))


def sampler_of(
    measured: MeasuredModel, sequences_per_batch: int, check_stop: Callable[[], None]
) -> TransformersSampler:
    """A sampler that draws from the model."""
    sampler = TransformersSampler(
        measured.tokenizer, sequences_per_batch=sequences_per_batch, check_stop=check_stop
    )
    sampler.push(measured, version=0)
    return sampler
