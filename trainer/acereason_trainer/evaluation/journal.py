"""Checked answers on disk, batch by batch, so that a stopped measurement draws no batch twice.

A batch is named by a hash of the seeds and prompts of its requests and of the sampling parameters;
seeds are made from the stage key. So a batch found in the directory of any earlier attempt of the
stage is the one that would be drawn and checked again.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from acereason_trainer.rewards.protocol import Verdict
from acereason_trainer.rollout.protocol import SampleRequest, SamplingParams


@dataclass(frozen=True)
class Answer:
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
    ) -> list[Answer] | None:
        """The batch as an attempt finished it, or None."""
        name = _name(requests, params)
        for directory in (self.directory, *self.earlier):
            path = directory / name
            if path.exists():
                rows = json.loads(path.read_text(encoding="utf-8"))
                return [Answer(**{**row, "verdict": Verdict(row["verdict"])}) for row in rows]
        return None

    def keep(
        self,
        requests: Sequence[SampleRequest],
        params: SamplingParams,
        answers: Sequence[Answer],
    ) -> None:
        """Write a finished batch; a crash leaves it whole or not at all."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / _name(requests, params)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps([asdict(a) for a in answers]), encoding="utf-8")
        partial.rename(path)


def attempt_journal(work_dir: Path) -> AnswerJournal:
    """The journal of an attempt; its siblings are the stage's other attempts."""
    own = work_dir / "answers"
    return AnswerJournal(own, sorted(d for d in work_dir.parent.glob("*/answers") if d != own))


def _name(requests: Sequence[SampleRequest], params: SamplingParams) -> str:
    what = [
        [params.temperature, params.top_p, params.max_tokens],
        [[r.seed, *r.prompt] for r in requests],
    ]
    return hashlib.blake2b(json.dumps(what).encode(), digest_size=16).hexdigest() + ".json"
