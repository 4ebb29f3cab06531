"""The messages between the trainer and its checking processes."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from acereason_trainer.config.common import Verifier
from acereason_trainer.rewards.outputs import Comparator
from acereason_trainer.rewards.problem_limits import NO_LIMITS, ProblemLimits
from acereason_trainer.rewards.protocol import Grade

MathGrader = Literal["training", "toolkit"]
"""`toolkit`: as the papers' evaluation toolkit does, for comparison with their figures."""


@dataclass(frozen=True)
class Setup:
    """What a worker is for."""

    kind: Literal["math", "code", "custom"]
    verifier: Verifier
    all_tests: bool = False
    """Code: go on after the first failure and say which tests passed."""
    math_grader: MathGrader = "training"
    """Math: who decides whether two answers are the same."""
    comparator: Comparator = "exact"
    """Code: who decides whether two outputs are the same."""
    function: str | None = None
    """Import path of a custom reward."""
    path: tuple[str, ...] = field(default_factory=lambda: tuple(sys.path))
    """Where the trainer imports from."""


@dataclass(frozen=True)
class Ready:
    """The worker takes jobs."""

    notes: tuple[str, ...] = ()
    """What a person should know, for the log."""


@dataclass(frozen=True)
class Refused:
    """The worker cannot do its work; the settings are wrong."""

    sentence: str


@dataclass(frozen=True)
class MathJob:
    """Two answers to compare."""

    answer: str
    reference: str


@dataclass(frozen=True)
class CodeJob:
    """A program and what it must do."""

    source: str
    digest: bytes
    """Names the tests."""
    tests: bytes | None
    """Packed; None where the worker should know them by their digest."""
    limits: ProblemLimits = NO_LIMITS
    """The problem's own."""
    before: tuple[str, ...] = ()
    """Blocks whose definitions the source may use (program.py)."""


@dataclass(frozen=True)
class WantsTests:
    """The worker does not know a job's tests (any more); it must be sent with them."""


@dataclass(frozen=True)
class CustomJob:
    """A row and the response to it."""

    row: Mapping[str, Any]
    response: str


@dataclass(frozen=True)
class RewardRaised:
    """A custom reward function failed: its author must mend it."""

    sentence: str


Job = MathJob | CodeJob | CustomJob
Reply = Grade | RewardRaised | WantsTests


def in_brief(job: Job) -> Job:
    """The job with its tests named and left out: as good for a worker that knows them."""
    return replace(job, tests=None) if isinstance(job, CodeJob) else job
