"""Finished responses on disk, one by one, so that a stop in the middle of a step loses few.

For engines that promise seeds and not bits: each response is found by what it was drawn from, and
what was drawn beside it does not matter. Every rank appends to a file of its own for each version
of the weights, which goes when a state of a later step is there; a line that a crash has cut off
counts as not there.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acereason_trainer.rollout.batch_files import batch_name
from acereason_trainer.rollout.journal import Journal, completion_of, row_of
from acereason_trainer.rollout.protocol import Completion, SampleRequest, SamplingParams

FILES = "responses-*.jsonl"


@dataclass
class ResponseJournal:
    """Responses of this attempt, in the directory of its journal, and those of the attempt that it
    goes on from."""

    journal: Journal
    rank: int
    _found: dict[str, list[Any]] | None = field(default=None, init=False)

    def find(
        self, version: int, params: SamplingParams, requests: Sequence[SampleRequest]
    ) -> list[Completion]:
        """Those of the requests that were drawn before the attempt began, by whatever rank."""
        found = self._earlier()
        kept = [(r, found.pop(batch_name(version, params, [r]), None)) for r in requests]
        return [completion_of(request, row) for request, row in kept if row is not None]

    def keep(self, version: int, params: SamplingParams, drawn: Sequence[Completion]) -> None:
        """Append finished responses."""
        self.journal.directory.mkdir(parents=True, exist_ok=True)
        path = self.journal.directory / FILES.replace("*", f"{self.rank}-{version}")
        lines = [
            json.dumps([batch_name(version, params, [c.request]), row_of(c)]) + "\n" for c in drawn
        ]
        with path.open("a", encoding="utf-8") as out:
            out.writelines(lines)

    def _earlier(self) -> dict[str, list[Any]]:
        if self._found is None:
            places = [p for p in (self.journal.earlier, self.journal.directory) if p is not None]
            files = [file for place in places for file in sorted(place.glob(FILES))]
            self._found = dict(line for file in files for line in _lines(file))
        return self._found


def _lines(file: Path) -> list[tuple[str, list[Any]]]:
    """Whole lines of a file; what a crash or a bad disk has damaged is left out."""
    whole = []
    for line in file.read_bytes().splitlines():
        try:
            name, row = json.loads(line)
        except ValueError:
            continue
        whole.append((name, row))
    return whole
