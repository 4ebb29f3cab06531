"""Finished batches of rollouts on disk, so that a stopped step does not draw them again.

A batch's name (`batch_name`) stands for all that it depends on, the weights by their step, and its
shape is fixed by the same. So a batch found here is the one that would be drawn: to the last bit
where the attempt that drew it had as many ranks. With another number weights come to the same step
in another order of adding, and differ by rounding, as trainer and sampler do anyway. Those of all
attempts of the stage are looked through: whoever goes on takes the same rollouts again, so that its
weights stay as near to those that drew them. A file that a power cut or a bad disk has damaged
costs the drawing of its batch, never the stage.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acereason_trainer.artifacts.flushing import replace_file
from acereason_trainer.rollout.protocol import Completion, SampleRequest, SamplingParams

_log = logging.getLogger(__name__)


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
        """The batch as it was drawn before, or None. The log names damaged files."""
        name = batch_name(version, params, requests)
        for directory in (self.directory, *self.earlier):
            found = _read(directory / name, requests)
            if found is not None:
                if directory != self.directory:
                    self.keep(version, params, found)
                return found
        return None

    def keep(self, version: int, params: SamplingParams, completions: Sequence[Completion]) -> None:
        """Write a finished batch; a crash leaves it whole or not at all.

        Raises artifacts.errors.StoreFull.
        """
        name = batch_name(version, params, [c.request for c in completions])
        self.directory.mkdir(parents=True, exist_ok=True)
        rows = [row_of(c) for c in completions]
        replace_file(self.directory / name, json.dumps(rows).encode())

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


def batch_name(version: int, params: SamplingParams, requests: Sequence[SampleRequest]) -> str:
    """File name of a batch that these weights draw for these requests."""
    what = [
        version,
        params.temperature,
        params.top_p,
        params.max_tokens,
        [[r.seed, *r.prompt] for r in requests],
    ]
    return hashlib.blake2b(json.dumps(what).encode(), digest_size=16).hexdigest() + ".json"


def row_of(c: Completion) -> list[Any]:
    """A response as JSON; its request is known to whoever reads it."""
    return [list(c.tokens), list(c.logprobs), c.finish, c.text]


def completion_of(request: SampleRequest, row: list[Any]) -> Completion:
    """The response that `row_of` has written."""
    tokens, logprobs, finish, text = row
    return Completion(request, tuple(tokens), tuple(logprobs), finish, text, recalled=True)


def _read(path: Path, requests: Sequence[SampleRequest]) -> list[Completion] | None:
    """None without a file, or with a damaged one."""
    try:
        rows = json.loads(path.read_bytes())
        return [completion_of(request, row) for request, row in zip(requests, rows, strict=True)]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as e:
        _log.warning("%s is damaged (%s) and counts as not there", path, e)
        return None
