"""What the trainer and the process of an engine say to each other; no torch, no vLLM."""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class EngineSettings:
    """How an engine is started."""

    model: str
    """Directory with the model's configuration; its weights are pushed."""
    overrides: dict[str, Any]
    """Fields of the configuration in the place of the directory's."""
    dtype: Literal["float32", "bfloat16"]
    tokens: int
    """Longest sequence."""
    stop_tokens: tuple[int, ...]
    sequences: int
    """Decoded at once."""
    tensor_parallel: int
    memory_share: float
    cache_bytes: int | None
    """None: what `memory_share` leaves."""


@dataclass(frozen=True)
class Asked:
    """One response to draw."""

    number: int
    """By which the engine names it."""
    prompt: tuple[int, ...]
    seed: int
    temperature: float
    top_p: float
    max_tokens: int


@dataclass(frozen=True)
class Drawn:
    """One response."""

    number: int
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: Literal["stop", "length"]


@dataclass(frozen=True)
class Call:
    """The trainer asks for a method of the engine's process."""

    method: str
    arguments: tuple[Any, ...]
    answered: bool


@dataclass(frozen=True)
class Answer:
    """What a call gave."""

    value: Any


@dataclass(frozen=True)
class Finished:
    """Responses that are done; without any, a sign of life."""

    drawn: tuple[Drawn, ...]


@dataclass(frozen=True)
class Failed:
    """The engine's process ends."""

    error: str
    """One line."""
    refused: bool
    """Whether vLLM has looked at its settings, and at the device, and does not start with them."""
