"""The result record: what is left of an attempt when its pod is gone (4 KiB at most)."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from acereason_trainer.artifacts.flushing import replace_file
from acereason_trainer.config.stage_file import MOST_METRICS, ResultRecord
from acereason_trainer.termination_log import LARGEST_RECORD, write_termination_log

LOG_TAIL = 2048
"""Bytes of the first failed rank's log."""
_LONGEST_MESSAGE = 1000


def write_record(path: Path, record: ResultRecord) -> None:
    """Replace the record in one step, and give it to Kubernetes (`termination_log.py`)."""
    content = fitted(record)
    replace_file(path, content)
    write_termination_log(content)


def fitted(record: ResultRecord) -> bytes:
    """The record as JSON of at most 4 KiB: the log's tail is shortened first, then the metrics go,
    then the sentence is cut.

    Text is kept as UTF-8; a character is never cut.
    """
    for shorter in _shorter_and_shorter(record):
        content = json.dumps(shorter.dump(), ensure_ascii=False, separators=(",", ":")).encode()
        if len(content) <= LARGEST_RECORD:
            return content
    raise AssertionError("the last form has only numbers and a short sentence")


def few_metrics(came_to: Mapping[str, float], last: Mapping[str, float]) -> dict[str, float]:
    """What a stage came to, by its artifact, and beside that what its last step said: as much as a
    record holds. An evaluation's last step is a part of its answers, its artifact is about all."""
    found = {**came_to, **{name: last[name] for name in last if name not in came_to}}
    finite = ((name, value) for name, value in found.items() if math.isfinite(value))
    return dict(islice(finite, MOST_METRICS))


def tail_of(log: Path, size: int = LOG_TAIL) -> str:
    """The last `size` bytes of a log, from a whole character on; "" where there is no log."""
    try:
        with log.open("rb") as file:
            length = file.seek(0, os.SEEK_END)
            file.seek(max(0, length - size))
            content = file.read()
    except FileNotFoundError:
        return ""
    return last_bytes(content.decode("utf-8", "ignore"), size)


def last_bytes(text: str, size: int) -> str:
    """The longest end of a text that has at most `size` bytes in UTF-8."""
    return text.encode("utf-8", "replace")[-size:].decode("utf-8", "ignore") if size > 0 else ""


def _shorter_and_shorter(record: ResultRecord) -> Iterator[ResultRecord]:
    message = record.message.encode("utf-8", "replace")[:_LONGEST_MESSAGE].decode("utf-8", "ignore")
    for size in (LOG_TAIL, 1536, 1024, 512, 256, 128, 0):
        yield record.model_copy(
            update={"message": message, "log_tail": last_bytes(record.log_tail, size)}
        )
    yield record.model_copy(update={"message": message, "log_tail": "", "metrics": {}})
    yield record.model_copy(update={"message": message[:150], "log_tail": "", "metrics": {}})
