"""Is the stage still getting anywhere? Only progress counts, not signs of life.

A rank that hangs in a collective still answers, and may still write; what it does not do is finish
steps. So the watchdog looks at the step and its phase in progress.json, and at nothing else.
"""

from pathlib import Path

from pydantic import ValidationError

from acereason_trainer.config.stage_file import Progress

LOOKS = 3
"""At a file that cannot be read: on a network file system, one that another node has just replaced
is stale, and the next look finds the new one."""


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
    """Remembers when the step or its phase last changed."""

    def __init__(self, limit: float | None, now: float) -> None:
        """`limit` in seconds, None: never stuck. `now` is a monotonic clock's time."""
        self._limit = limit
        self._since = now
        self._last: tuple[int, str] | None = None

    def is_stuck(self, progress: Progress | None, now: float) -> bool:
        """Take in what progress.json says now. True when it has been the same for too long; None
        is no news."""
        if progress is not None and (progress.step, progress.phase) != self._last:
            self._last, self._since = (progress.step, progress.phase), now
        return self._limit is not None and now - self._since >= self._limit
