"""Finished batches of rollouts on disk, so that a stopped step does not draw them again.

A batch is named by a hash of everything it depends on (weights' version, sampling parameters, seeds
and prompts of its requests), and its shape is fixed by those too. So a batch found here is the one
that would be drawn, to the last bit.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
        path = self.directory / _name(version, params, requests)
        if not path.exists() and self.earlier is not None and (self.earlier / path.name).exists():
            self.directory.mkdir(exist_ok=True)
            partial = path.with_suffix(".partial")
            shutil.copyfile(self.earlier / path.name, partial)
            partial.rename(path)
        return _read(path, requests) if path.exists() else None

    def keep(self, version: int, params: SamplingParams, completions: Sequence[Completion]) -> None:
        """Write a finished batch; a crash leaves it whole or not at all."""
        self.directory.mkdir(exist_ok=True)
        rows = [[list(c.tokens), list(c.logprobs), c.finish, c.text] for c in completions]
        path = self.directory / _name(version, params, [c.request for c in completions])
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(rows))
        partial.rename(path)

    def clear(self) -> None:
        """Forget this attempt's batches: a newer state has made them useless."""
        shutil.rmtree(self.directory, ignore_errors=True)


def _name(version: int, params: SamplingParams, requests: Sequence[SampleRequest]) -> str:
    what = [
        version,
        params.temperature,
        params.top_p,
        params.max_tokens,
        [[r.seed, *r.prompt] for r in requests],
    ]
    return hashlib.blake2b(json.dumps(what).encode(), digest_size=16).hexdigest() + ".json"


def _read(path: Path, requests: Sequence[SampleRequest]) -> list[Completion]:
    rows = json.loads(path.read_text())
    return [
        Completion(request, tuple(tokens), tuple(logprobs), finish, text)
        for request, (tokens, logprobs, finish, text) in zip(requests, rows, strict=True)
    ]
