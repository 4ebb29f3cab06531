"""What an executor is asked to do. Each may be carried out twice, late, or after a crash.

Jobs are named by run, stage, attempt and phase, and a number is never used again: creating one that
exists and stopping or removing one that is gone are successes.
"""

from dataclasses import dataclass
from typing import Literal

from acereason_trainer.config.stage_file import StageFile

from acereason_operator.planner.observed import Phase


@dataclass(frozen=True)
class CreateJob:
    """Start one phase of an attempt; done already where a Job of this name exists."""

    name: str
    stage: str
    attempt: int
    phase: Phase
    stage_file: StageFile
    """Everything the phase is told; `prepared` is set when phase is Train."""
    avoid_node: str = ""
    """A node whose copy of an input was bad: verify on another one where there is one."""


@dataclass(frozen=True)
class StopJob:
    """End a Job gracefully: SIGTERM, the grace period, SIGKILL. Its records stay readable for as
    long as the executor can keep them."""

    name: str
    reason: str
    """CamelCase word: why."""


@dataclass(frozen=True)
class RemoveJob:
    """Remove a finished Job. Nothing of the store is touched."""

    name: str


@dataclass(frozen=True)
class RecordEvent:
    """Tell people; posted after the status is written, lost where the executor dies between."""

    type: Literal["Normal", "Warning"]
    reason: str
    """CamelCase word."""
    message: str


Action = CreateJob | StopJob | RemoveJob | RecordEvent
