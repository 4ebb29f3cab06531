"""Finished responses on disk, one by one, so that a stop in the middle of a step loses few.

For engines that promise seeds and not bits: each response is found by what it was drawn from, and
what was drawn beside it does not matter. A step that is drawn again comes to other responses and so
to other weights than the attempt that crashed, under the same number. So what weights these are is
part of a response's name (policy/identity.py): none is taken that others have drawn.

Every rank appends to a file of its own for each set of weights, which goes when a state of a later
step is there; a line that a crash has cut off counts as not there.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acereason_trainer.rollout.journal import Journal, batch_name, completion_of, row_of
from acereason_trainer.rollout.protocol import Completion, SampleRequest, SamplingParams

FIELDS = 4
"""Of a row, as `row_of` writes it."""


@dataclass
class ResponseJournal:
    """Responses of this attempt, in the directory of its journal, and those of earlier attempts of
    the same stage."""

    journal: Journal
    rank: int
    _weights: str | None = field(default=None, init=False)
    _found: dict[str, list[Any]] = field(default_factory=dict, init=False)

    def earlier(self, weights: str) -> dict[str, list[Any]]:
        """What is there of these weights (their `Identity`), by whatever rank of whatever attempt:
        rows by name. Nothing where it was looked for before."""
        if weights == self._weights:
            return {}
        places = (*self.journal.earlier, self.journal.directory)
        names = _file("*", weights)
        return dict(
            line for place in places for file in sorted(place.glob(names)) for line in _lines(file)
        )

    def drawn_from(self, weights: str, found: dict[str, list[Any]]) -> None:
        """What is looked for and kept from now on is of these weights, of which one rank has found
        so much for all."""
        if weights != self._weights:
            self._weights, self._found = weights, found

    def find(
        self, version: int, params: SamplingParams, requests: Sequence[SampleRequest]
    ) -> list[Completion]:
        """Those of the requests that were drawn before the attempt began, by whatever rank."""
        self._pushed()
        kept = [(r, self._found.pop(batch_name(version, params, [r]), None)) for r in requests]
        return [completion_of(request, row) for request, row in kept if row is not None]

    def keep(self, version: int, params: SamplingParams, drawn: Sequence[Completion]) -> None:
        """Append finished responses."""
        if not drawn:
            return  # a journal that is there is worth a state
        self.journal.directory.mkdir(parents=True, exist_ok=True)
        path = self.journal.directory / _file(str(self.rank), self._pushed())
        lines = [
            json.dumps([batch_name(version, params, [c.request]), row_of(c)]) + "\n" for c in drawn
        ]
        with path.open("a", encoding="utf-8") as out:
            out.writelines(lines)

    def _pushed(self) -> str:
        if self._weights is None:
            raise RuntimeError("nothing is drawn before weights were pushed")
        return self._weights


def _file(rank: str, weights: str) -> str:
    return f"responses-{rank}-{weights}.jsonl"


def _lines(file: Path) -> list[tuple[str, list[Any]]]:
    """Whole lines of a file; what a crash or a bad disk has damaged is left out."""
    try:
        lines = file.read_bytes().splitlines()
    except OSError:  # its attempt trains on, and has just forgotten it; it is drawn again
        return []
    whole = []
    for line in lines:
        try:
            name, row = json.loads(line)
        except (ValueError, TypeError):
            continue
        if isinstance(name, str) and isinstance(row, list) and len(row) == FIELDS:
            whole.append((name, row))
    return whole
