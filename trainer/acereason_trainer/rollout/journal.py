"""Finished batches of rollouts on disk, so that a stopped step does not draw them again.

A batch's name (batch_files.py) stands for all that it depends on, and its shape is fixed by the
same. So a batch found here is the one that would be drawn, to the last bit.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acereason_trainer.rollout.batch_files import batch_name, read_batch, write_batch
from acereason_trainer.rollout.protocol import Completion, SampleRequest, SamplingParams


@dataclass(frozen=True)
class Journal:
    """Batches of this attempt, and those of the attempt that it goes on from."""

    directory: Path
    """This attempt's own; made when the first batch is written."""
    earlier: Path | None = None
    """An earlier attempt's, only read: what is found there becomes this attempt's own, for the
    next one to find."""

    def find(
        self, version: int, params: SamplingParams, requests: Sequence[SampleRequest]
    ) -> list[Completion] | None:
        """The batch as it was drawn before, or None."""
        name = batch_name(version, params, requests)
        found = read_batch(self.directory / name, requests, completion_of)
        if found is None and self.earlier is not None:
            found = read_batch(self.earlier / name, requests, completion_of)
            if found is not None:
                self.keep(version, params, found)
        return found

    def keep(self, version: int, params: SamplingParams, completions: Sequence[Completion]) -> None:
        """Write a finished batch; a crash leaves it whole or not at all."""
        rows = [row_of(c) for c in completions]
        name = batch_name(version, params, [c.request for c in completions])
        write_batch(self.directory / name, rows)

    def batches(self) -> list[Path]:
        """This attempt's batches so far, as files."""
        return sorted(self.directory.glob("*"))

    def forget(self, batches: Iterable[Path]) -> None:
        """Remove some: a newer state has made them useless."""
        for path in batches:
            path.unlink(missing_ok=True)


def row_of(c: Completion) -> list[Any]:
    """A response as JSON; its request is known to whoever reads it."""
    return [list(c.tokens), list(c.logprobs), c.finish, c.text]


def completion_of(request: SampleRequest, row: list[Any]) -> Completion:
    """The response that `row_of` has written."""
    tokens, logprobs, finish, text = row
    return Completion(request, tuple(tokens), tuple(logprobs), finish, text)
