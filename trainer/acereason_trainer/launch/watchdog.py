"""Is the stage still getting anywhere? Only progress counts, not signs of life.

A rank that hangs in a collective still answers, and may still write; what it does not do is finish
steps. So the watchdog looks at the step and its phase in progress.json, and at nothing else.
"""

import math
from pathlib import Path

from pydantic import ValidationError

from acereason_trainer.config.stage_file import Progress

LOOKS = 3
"""At a file that cannot be read: on a network file system, one that another node has just replaced
is stale, and the next look finds the new one."""
AT_LEAST = 7200.0
"""Seconds that pass in any case before an attempt without a deadline of its own is taken to hang:
more than loading, a first step of the longest responses, or publishing should ever take."""
TIMES_THE_LONGEST = 10.0
"""Such an attempt hangs once nothing has changed for so many times the longest it has ever taken:
steps grow longer within a stage, but not tenfold."""


def read_progress(path: Path) -> Progress | None:
    """progress.json; None where there is none yet or it is not readable."""
    for _ in range(LOOKS):
        try:
            return Progress.parse_json(path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        except OSError:
            continue
    return None


class Watchdog:
    """Remembers when the step or its phase last changed, and how long that took at most."""

    def __init__(self, limit: float | None, now: float) -> None:
        """`limit` in seconds, 0: never stuck, None: a limit that grows with what was seen. `now` is
        a monotonic clock's time."""
        self._limit = limit
        self._since = now
        self._longest = 0.0
        self._last: tuple[int, str] | None = None

    def is_stuck(self, progress: Progress | None, now: float) -> bool:
        """Take in what progress.json says now. True when it has been the same for too long; None
        is no news."""
        if progress is not None and (progress.step, progress.phase) != self._last:
            self._longest = max(self._longest, now - self._since)
            self._last, self._since = (progress.step, progress.phase), now
        return now - self._since >= self._seconds

    @property
    def _seconds(self) -> float:
        """What is too long now."""
        if self._limit is None:
            return max(AT_LEAST, TIMES_THE_LONGEST * self._longest)
        return self._limit or math.inf

    @property
    def said(self) -> str:
        """How long is too long, and whose word that is."""
        if self._limit is not None:
            return f"{self._limit:g} s (deadlines.noProgress)"
        return (
            f"{self._seconds:g} s ({TIMES_THE_LONGEST:g} times the longest so far, but at least "
            f"{AT_LEAST:g} s, as deadlines.noProgress is not set)"
        )
