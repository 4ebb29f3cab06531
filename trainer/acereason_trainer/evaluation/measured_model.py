"""A model that is measured and not trained: weights and tokenizer, no optimizer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acereason_trainer.config.common import ModelLoading


@dataclass(frozen=True)
class MeasuredModel:
    """What a sampler draws from, and what renders its prompts."""

    model: Any
    """The torch module."""
    tokenizer: Any
    """Its tokenizer."""


def load_measured_model(directory: Path, loading: ModelLoading) -> MeasuredModel:
    """The model of an artifact's directory, on its device."""
    from acereason_trainer.policy.loading import load_model, load_tokenizer

    return MeasuredModel(load_model(directory, loading), load_tokenizer(directory))
