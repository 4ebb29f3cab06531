"""Checked answers on disk, one by one, so that a stopped measurement draws few of them twice.

An answer is named by its seed, which is made from the stage key, the problem and the sample: so one
that is found in the directory of any attempt of the stage is of this measurement, however many
ranks drew it, and what was drawn beside it does not matter. Every rank appends to a file of its
own; a line that a crash has cut off counts as not there.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from acereason_trainer.artifacts.errors import told_when_full
from acereason_trainer.rewards.protocol import Verdict
from acereason_trainer.rollout.protocol import SampleRequest

_log = logging.getLogger(__name__)


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


@dataclass(frozen=True, slots=True)
class _Place:
    """A line of a file, from its first byte to before its last."""

    file: Path
    start: int
    size: int


@dataclass
class AnswerJournal:
    """Answers of this attempt, and those of all attempts of the same stage."""

    directory: Path
    """This attempt's own; made when the first answer is kept."""
    rank: int = 0
    others: Sequence[Path] = ()
    """Other attempts', only read."""
    _places: dict[str, list[_Place]] | None = field(default=None, init=False)

    def find(self, requests: Sequence[SampleRequest]) -> dict[int, GradedAnswer]:
        """Those that were there when the attempt began, by their seeds. For one rank to ask, and to
        tell the others: another node may not see all files yet.

        Reads the texts of these requests alone; where they all are is looked up once.
        """
        if self._places is None:
            self._places = self._all_places()
        found = {}
        for request in requests:
            read = (_read(place) for place in self._places.get(_name(request.seed), ()))
            answer = next((a for a in read if a is not None), None)
            if answer is not None:
                found[request.seed] = answer
        return found

    def _all_places(self) -> dict[str, list[_Place]]:
        """Of each name; an answer that was drawn twice is in two."""
        places: dict[str, list[_Place]] = {}
        for directory in (self.directory, *self.others):
            for file in sorted(directory.glob("*.jsonl")):
                for name, place in _lines(file):
                    places.setdefault(name, []).append(place)
        return places

    def keep(self, answers: Sequence[tuple[SampleRequest, GradedAnswer]]) -> None:
        """Append checked answers. Raises artifacts.errors.StoreFull."""
        if not answers:
            return
        path = self.directory / f"{self.rank}.jsonl"
        lines = [json.dumps([_name(r.seed), asdict(a)]) + "\n" for r, a in answers]
        with told_when_full(path):
            self.directory.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as out:
                out.writelines(lines)


def attempt_journal(work_dir: Path, rank: int = 0) -> AnswerJournal:
    """The journal of an attempt; its siblings are the stage's other attempts."""
    own = work_dir / "answers"
    others = sorted(d for d in work_dir.parent.glob("*/answers") if d != own)
    return AnswerJournal(own, rank, others)


def _name(seed: int) -> str:
    return f"{seed:016x}"


_BEFORE_NAME = len('["')


def _lines(file: Path) -> Iterator[tuple[str, _Place]]:
    """Names and places of the lines, whatever stands behind the name. The log tells of a file that
    cannot be read: what is in it is drawn again."""
    start = 0
    try:
        with file.open("rb") as opened:
            for line in opened:
                name = line[_BEFORE_NAME : _BEFORE_NAME + len(_name(0))]
                yield name.decode("ascii", "replace"), _Place(file, start, len(line))
                start += len(line)
    except OSError as e:
        _log.warning("%s cannot be read (%s) and counts as not there", file, e)


def _read(place: _Place) -> GradedAnswer | None:
    """The answer there, or None where a crash or a bad disk has damaged it."""
    try:
        with place.file.open("rb") as opened:
            opened.seek(place.start)
            _, row = json.loads(opened.read(place.size))
        return _answer(row)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _answer(row: dict[str, Any]) -> GradedAnswer:
    passed = row["passed"]
    return GradedAnswer(
        **{
            **row,
            "verdict": Verdict(row["verdict"]),
            "passed": None if passed is None else tuple(passed),
        }
    )
