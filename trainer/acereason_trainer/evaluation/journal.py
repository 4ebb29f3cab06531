"""Checked answers on disk, batch by batch, so that a stopped measurement draws no batch twice.

A batch is named by the seeds and prompts of its requests and the sampling parameters
(rollout/batch_files.py); seeds are made from the stage key. So a batch found in the directory of
any earlier attempt of the stage is the one that would be drawn and checked again.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from acereason_trainer.rewards.protocol import Verdict
from acereason_trainer.rollout.batch_files import batch_name, read_batch, write_batch
from acereason_trainer.rollout.protocol import SampleRequest, SamplingParams

_VERSION = 0
"""A measurement has one model, whose weights never change."""


@dataclass(frozen=True)
class GradedAnswer:
    """One response that was drawn and checked."""

    row_id: str
    """Id of the dataset row."""
    sample: int
    """Number of the response within its problem, from 0."""
    verdict: Verdict
    """What became of it."""
    reward: float | None
    """0 to 1; None where the check failed for our own reasons."""
    tokens: int
    """Length of the response."""
    truncated: bool
    """Whether it hit the length limit."""
    text: str
    """The response."""
    detail: str
    """The extracted answer or the first failing test."""
    passed: tuple[bool, ...] | None = None
    """Code: outcome of each test, where all were run."""

    @property
    def checked(self) -> bool:
        """Whether there is a verdict about the answer at all."""
        return self.reward is not None

    @property
    def correct(self) -> bool:
        """Whether it earned the full reward."""
        return self.reward == 1


@dataclass(frozen=True)
class AnswerJournal:
    """Batches of this attempt, and those of earlier attempts of the same stage."""

    directory: Path
    """This attempt's own; made when the first batch is kept."""
    earlier: Sequence[Path] = ()
    """Other attempts', only read."""

    def find(
        self, requests: Sequence[SampleRequest], params: SamplingParams
    ) -> list[GradedAnswer] | None:
        """The batch as an attempt finished it, or None."""
        name = batch_name(_VERSION, params, requests)
        for directory in (self.directory, *self.earlier):
            found = read_batch(directory / name, requests, _answer)
            if found is not None:
                return found
        return None

    def keep(
        self,
        requests: Sequence[SampleRequest],
        params: SamplingParams,
        answers: Sequence[GradedAnswer],
    ) -> None:
        """Write a finished batch; a crash leaves it whole or not at all."""
        path = self.directory / batch_name(_VERSION, params, requests)
        write_batch(path, [asdict(a) for a in answers])


def attempt_journal(work_dir: Path) -> AnswerJournal:
    """The journal of an attempt; its siblings are the stage's other attempts."""
    own = work_dir / "answers"
    return AnswerJournal(own, sorted(d for d in work_dir.parent.glob("*/answers") if d != own))


def _answer(request: SampleRequest, row: dict[str, Any]) -> GradedAnswer:
    passed = row["passed"]
    return GradedAnswer(
        **{
            **row,
            "verdict": Verdict(row["verdict"]),
            "passed": None if passed is None else tuple(passed),
        }
    )
