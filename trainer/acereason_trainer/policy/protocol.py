"""What the loops ask of the model that is being trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Responses to learn from in one optimizer step.

    Sequences are prompt + response, of any lengths; weights are zero on prompt tokens.
    """

    sequences: Sequence[Sequence[int]]
    """N token id sequences."""
    prompt_lengths: Sequence[int]
    """N numbers of leading tokens that are not trained on."""
    token_weights: "Sequence[Tensor]"
    """N float tensors, one weight for each response token: advantage / normalizer for RL. A zero
    weight is not trained on."""
    temperature: float
    """Divides the logits."""
    sampler_logprobs: "Sequence[Tensor] | None"
    """N float tensors as the sampler reported them, for the mismatch metric; None for SFT."""


@dataclass(frozen=True)
class Update:
    """What one optimizer step did."""

    loss: float
    grad_norm: float
    learning_rate: float
    entropy: float
    """Mean full-vocabulary entropy at the temperature over trained tokens, in nats."""
    mismatch_kl: float
    """Mean of (r - 1 - log r), r = p_trainer / p_sampler, over trained tokens."""
    tokens: int
    """Trained tokens."""


class Policy(Protocol):
    """A model with its optimizer."""

    def step(self, batch: Batch) -> Update:
        """One optimizer step: minimise -sum of weight x log p(token)."""
        ...

    def save_state(self, directory: Path) -> None:
        """Write weights, optimizer and scheduler, exactly."""
        ...

    def load_state(self, directory: Path) -> None:
        """Read what `save_state` wrote."""
        ...

    def export(self, directory: Path) -> None:
        """Write a Hugging Face directory: config, weights, tokenizer."""
        ...

    @property
    def model(self) -> Any:
        """The torch module, for samplers that share the process."""
        ...
