"""What the loops ask of the model that is being trained."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from acereason_trainer.policy.state_files import Snapshot


@dataclass(frozen=True)
class Batch:
    """Token sequences to learn from in one optimizer step.

    A sequence is prompt + response. Rows say which sequences stand behind one another in one row
    of the forward pass; they never see each other.
    """

    sequences: Sequence[Sequence[int]]
    """N token id sequences."""
    prompt_lengths: Sequence[int]
    """N numbers of leading tokens that are not trained on, each at least 1."""
    token_weights: "Sequence[Tensor]"
    """N float32 tensors, one weight for each response token: 1 / tokens for SFT, advantage /
    normalizer for RL."""
    temperature: float = 1.0
    """Divides the logits."""
    sampler_logprobs: "Sequence[Tensor] | None" = None
    """N float32 tensors as the sampler reported them: how far it is from the trainer."""
    importance_cap: float | None = None
    """Each token weighs min(p_trainer / p_sampler, cap) times as much; None: no such weight."""
    rows: Sequence[Sequence[int]] | None = None
    """Indices of sequences, row by row; None: each sequence is a row of its own."""


@dataclass(frozen=True)
class Update:
    """What one optimizer step did."""

    loss: float
    """-sum of weight x log p."""
    grad_norm: float
    """Global norm before clipping."""
    learning_rate: float
    """Used in this step."""
    entropy: float
    """Mean full-vocabulary entropy at the temperature over trained tokens, in nats."""
    mismatch_kl: float
    """Mean of r - 1 - log r, r = p_trainer / p_sampler, over trained tokens; 0 without sampler
    logprobs."""
    tokens: int
    """Trained tokens."""
    mismatch_share: float = 0.0
    """Share of trained tokens with p_trainer / p_sampler outside of [0.8, 1.25]."""


class Weights(Protocol):
    """A model to draw from, trained or not.

    With several ranks all of them call each of these, in the same order and with the same
    arguments.
    """

    @property
    def model(self) -> Any:
        """The torch module, for samplers that share the process."""
        ...

    def weights(self) -> "Iterator[tuple[str, Tensor]]":
        """Every weight by its name in a checkpoint, whole, one at a time; a copy is the caller's to
        make."""
        ...

    def logprobs(self, sequences: Sequence[Sequence[int]]) -> "list[Tensor]":
        """log p of each token after the first, at temperature 1; float32 on the CPU."""
        ...

    def make_room(self) -> None:
        """Move what a sampler does not need from the GPU to the host."""
        ...

    def take_room(self) -> None:
        """Move it back, where it was moved; a step and a load need that."""
        ...


class Policy(Weights, Protocol):
    """A model with its optimizer. What a batch is shared into is the policy's own."""

    @property
    def steps(self) -> int:
        """Optimizer steps that its weights have taken."""
        ...

    def step(self, batch: Batch) -> Update:
        """One optimizer step: minimise -sum of weight x log p(token)."""
        ...

    @property
    def room_bytes(self) -> int:
        """Bytes that `make_room` moves from this rank's GPU to the host; 0 before the first."""
        ...

    @property
    def state_bytes(self) -> int:
        """Bytes of this rank's share of the state."""
        ...

    def save_state(self, directory: Path) -> "Sequence[Path]":
        """Write weights, optimizer and schedule position, exactly, with little memory; returns the
        files."""
        ...

    def snapshot(self) -> "Snapshot":
        """A copy in the host's memory of what `save_state` would write, to be written later."""
        ...

    def load_state(self, directory: Path) -> None:
        """Read what `save_state` wrote."""
        ...

    def export(self, directory: Path) -> None:
        """Write a Hugging Face directory: config, weights, tokenizer."""
        ...
