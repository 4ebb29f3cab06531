"""Finished batches of rollouts on disk, so that a stopped step does not draw them again.

A batch's name (batch_files.py) stands for all that it depends on, the weights by their step, and
its shape is fixed by the same. So a batch found here is the one that would be drawn: to the last
bit where the attempt that drew it had as many ranks. With another number weights come to the same
step in another order of adding, and differ by rounding, as trainer and sampler do anyway. Those of
all attempts of the stage are looked through: whoever goes on takes the same rollouts again, so that
its weights stay as near to those that drew them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acereason_trainer.rollout.batch_files import batch_name, read_batch, write_batch
from acereason_trainer.rollout.protocol import Completion, SampleRequest, SamplingParams


@dataclass(frozen=True)
class Journal:
    """Batches of this attempt, and those of earlier attempts of the same stage."""

    directory: Path
    """This attempt's own; made when the first batch is written."""
    earlier: Sequence[Path] = ()
    """Other attempts', only read: what is found there becomes this attempt's own, and goes when a
    newer state has made it useless."""

    def find(
        self, version: int, params: SamplingParams, requests: Sequence[SampleRequest]
    ) -> list[Completion] | None:
        """The batch as it was drawn before, or None."""
        name = batch_name(version, params, requests)
        for directory in (self.directory, *self.earlier):
            found = read_batch(directory / name, requests, completion_of)
            if found is not None:
                if directory != self.directory:
                    self.keep(version, params, found)
                return found
        return None

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


def attempt_journal(work_dir: Path) -> Journal:
    """The journal of an attempt; its siblings are the stage's other attempts, whether they have
    left a state or not."""
    own = work_dir / "journal"
    return Journal(own, sorted(d for d in work_dir.parent.glob("*/journal") if d != own))


def row_of(c: Completion) -> list[Any]:
    """A response as JSON; its request is known to whoever reads it."""
    return [list(c.tokens), list(c.logprobs), c.finish, c.text]


def completion_of(request: SampleRequest, row: list[Any]) -> Completion:
    """The response that `row_of` has written."""
    tokens, logprobs, finish, text = row
    return Completion(request, tuple(tokens), tuple(logprobs), finish, text, recalled=True)
