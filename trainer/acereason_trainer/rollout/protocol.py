"""What the loops ask of a sampler, whatever engine is behind it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from acereason_trainer.policy.protocol import Weights


@dataclass(frozen=True)
class SampleRequest:
    """One response to draw."""

    prompt_id: str
    """Id of the dataset row."""
    prompt: tuple[int, ...]
    """Token ids of the rendered prompt."""
    sample: int
    """Number of the response within its prompt, from 0."""
    seed: int
    """64-bit seed of this response alone (`seeds.draw_seed`)."""


@dataclass(frozen=True)
class SamplingParams:
    """How to draw."""

    temperature: float
    """Divides the logits; 0 is greedy."""
    top_p: float
    """1 while training: anything else biases the logprobs."""
    max_tokens: int
    """Length limit of the response."""


@dataclass(frozen=True)
class Completion:
    """One drawn response."""

    request: SampleRequest
    tokens: tuple[int, ...]
    """Response token ids; the end-of-text token is among them where it was drawn."""
    logprobs: tuple[float, ...]
    """log p of each token under the sampling temperature. At a top-p below 1 an engine may give
    that of what top-p leaves: such responses are measured and never trained on."""
    finish: Literal["stop", "length"]
    """`length`: cut at the limit, no end-of-text was drawn."""
    text: str
    """Decoded response without special tokens."""
    recalled: bool = field(default=False, compare=False)
    """Whether it was drawn before, and only read from a journal now."""


OnBatch = Callable[[Sequence[Completion]], None]


class Sampler(Protocol):
    """Draws responses from the policy that was pushed last.

    With several ranks all of them call each of these but `close`, in the same order and with the
    same arguments: how requests are shared is the sampler's own.
    """

    @property
    def version(self) -> int:
        """Version of the weights in use."""
        ...

    @property
    def draws(self) -> bool:
        """Whether this rank draws; where it does not, its device works for one that does."""
        ...

    @property
    def probe_difference(self) -> float | None:
        """Mean difference between this rank's engine and the trainer in the logprobs of a fixed
        probe after the last push, in nats; None where they are one, or the rank has none."""
        ...

    def push(self, policy: Weights, version: int) -> None:
        """Use these weights from now on."""
        ...

    def rest(self) -> None:
        """Draw no more until the next push: the GPU is the trainer's. Changes nothing where that is
        so already."""
        ...

    def close(self) -> None:
        """End whatever was started, within seconds and whatever has become of it: the GPU is then
        the trainer's. Needs no other rank to call."""
        ...

    def generate(
        self, requests: Sequence[SampleRequest], params: SamplingParams, on_batch: OnBatch
    ) -> list[Completion]:
        """Draw this rank's share of the requests; between them the ranks draw all. It settles
        nothing between them: that is for who calls it, with all else that may fail meanwhile.

        Requests come longest first. `on_batch` is called with completions as they finish, so that
        they are checked while others are still drawn. Raises stage.Stopped when a stop was asked
        for.
        """
        ...
