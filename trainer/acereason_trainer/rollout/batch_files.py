"""Finished batches as files: each named by all that it was drawn from, and whole or not there.

A batch's name is a hash of its sampling parameters, of the version of the weights and of the seeds
and prompts of its requests, so a batch that is found is the one that would be drawn. A file that a
power cut or a bad disk has damaged costs the drawing of its batch, never the stage.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from acereason_trainer.artifacts.flushing import replace_file
from acereason_trainer.rollout.protocol import SampleRequest, SamplingParams

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


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


def write_batch(path: Path, rows: Sequence[Any]) -> None:
    """Write one JSON value per request; a crash or a power cut leaves the file whole or not there.

    Makes the directory. Raises artifacts.errors.StoreFull.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps(rows).encode())


def read_batch(
    path: Path, requests: Sequence[SampleRequest], parse: Callable[[SampleRequest, Any], _T]
) -> list[_T] | None:
    """What `parse` makes of each request and its row; None without a file, or with a damaged one.

    `parse` may raise ValueError, TypeError or KeyError. The log names a damaged file.
    """
    try:
        rows = json.loads(path.read_bytes())
        return [parse(request, row) for request, row in zip(requests, rows, strict=True)]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as e:
        _log.warning("%s is damaged (%s) and counts as not there", path, e)
        return None
