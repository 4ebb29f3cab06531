"""What the trainer asks of a checker of answers, whoever carries it out."""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol


class Verdict(StrEnum):
    """What became of one answer."""

    CORRECT = "correct"
    WRONG = "wrong"
    FORMAT = "format"
    """No answer where one must stand: no closed box, no code block after `</think>`."""
    RUNTIME_ERROR = "runtime_error"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    OUTPUT_LIMIT = "output_limit"
    INFRA_ERROR = "infra_error"
    """The checker failed, not the answer: the sample is masked, never a 0."""


@dataclass(frozen=True)
class Grade:
    """Verdict and reward of one response."""

    verdict: Verdict
    reward: float | None
    """0 to 1 (0 or 1 for the built-in rewards); None for an infrastructure error: mask it."""
    seconds: float = 0.0
    """Time it took to check."""
    detail: str = ""
    """For a human: the extracted answer, or the first failing test. Never fed back."""
    passed: tuple[bool, ...] | None = None
    """Code, with `all_tests`: outcome of each test."""
    missing_walls: tuple[str, ...] = ()
    """Code: walls around the program (`landlock`, `seccomp`) that the checker's kernel lacks."""


class Rewarder(Protocol):
    """Checks responses while others are still being generated."""

    def submit(self, row: Mapping[str, Any], response: str) -> "Future[Grade]":
        """Check one response to the problem of a dataset row; returns at once.

        The response is what the model wrote after the prompt (the prompt may have opened
        `<think>`); only the text after its last `</think>` can hold an answer. The same (row,
        response) twice costs one check.
        """
        ...

    def close(self) -> None:
        """End all worker processes."""
        ...
