"""Rows that share a run of words with a held-out problem would teach the test.

Both papers drop a training problem on any shared run of 9 words (14 for code RL) with any test
problem, and leave tokenisation open. Here a word is a run of letters or digits, lower-cased. A row
too short to hold enough runs is compared as a whole, operators included. Runs of all held-out
problems sit in one dictionary, and a row's runs are probed against it without leaving C: more than
ten thousand rows per second.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from acereason_trainer.config.curate import Decontamination
from acereason_trainer.curation.duplicates import normalized
from acereason_trainer.dataset import Row

_WORDS = re.compile(r"[^\W_]+")

Run = tuple[str, ...]


@dataclass(frozen=True)
class Overlap:
    """Why a row is contaminated."""

    held_out: str
    """Origin of the held-out problem."""
    words: str
    """A shared run, for a human to judge."""


class HeldOut:
    """All runs of words of the held-out problems."""

    def __init__(self, problems: Iterable[tuple[str, str]], settings: Decontamination) -> None:
        """`problems`: origin and text of each."""
        self._n = settings.ngram
        self._least = settings.min_matches
        self._runs: dict[Run, str] = {}
        self._whole: dict[str, str] = {}
        for origin, text in problems:
            self._whole.setdefault(normalized(text), origin)
            for run in _runs(_WORDS.findall(text.lower()), self._n):
                self._runs.setdefault(run, origin)

    def overlap(self, row: Row) -> Overlap | None:
        """The overlap that drops the row, or None."""
        words = _WORDS.findall(row.problem.lower())
        if len(words) - self._n + 1 < self._least:
            whole = normalized(row.problem)
            return Overlap(self._whole[whole], whole) if whole in self._whole else None
        if self._runs.keys().isdisjoint(_runs(words, self._n)):
            return None
        shared = self._runs.keys() & set(_runs(words, self._n))
        if len(shared) < self._least:
            return None
        run = min(shared)
        return Overlap(self._runs[run], " ".join(run))


def _runs(words: Sequence[str], n: int) -> Iterator[Run]:
    return zip(*(words[i:] for i in range(n)), strict=False)
