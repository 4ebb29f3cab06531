"""How far a benchmark is and how long the rest takes."""

import time
from collections.abc import Callable, Mapping

SECONDS_BETWEEN_LINES = 15.0
Clock = Callable[[], float]


class Parts:
    """Parts of a benchmark one after the other, each with the minutes that are expected of it.

    Where the parts so far took longer than expected, so will the others.
    """

    def __init__(self, minutes: Mapping[str, float], clock: Clock = time.monotonic) -> None:
        self._minutes = dict(minutes)
        self._clock = clock
        self._began = clock()
        self._number = 0
        self._expected_so_far = 0.0

    def begin(self, name: str) -> None:
        """Say what comes now."""
        self._number += 1
        print(
            f"[{self._number} of {len(self._minutes)}] {name}: about "
            f"{in_words(60 * self._minutes[name] * self.pace)}; "
            f"{in_words(self.seconds_left)} to the end of all",
            flush=True,
        )

    def end(self, name: str) -> None:
        """This part is done."""
        self._expected_so_far += self._minutes[name]

    @property
    def pace(self) -> float:
        """Minutes for each that was expected, so far."""
        if not self._expected_so_far:
            return 1.0
        return (self._clock() - self._began) / 60 / self._expected_so_far

    @property
    def seconds_left(self) -> float:
        """Of all parts that are not done."""
        return 60 * (sum(self._minutes.values()) - self._expected_so_far) * self.pace


class Steps:
    """Like steps of one part: a line now and then."""

    def __init__(self, what: str, number: int, clock: Clock = time.monotonic) -> None:
        self._what = what
        self._all = number
        self._clock = clock
        self._began = self._said_at = clock()
        self._done = 0

    def done(self) -> None:
        """One more."""
        self._done += 1
        now = self._clock()
        if now - self._said_at < SECONDS_BETWEEN_LINES or self._done == self._all:
            return
        left = (now - self._began) / self._done * (self._all - self._done)
        print(f"  {self._what}: {self._done} of {self._all}, {in_words(left)} left", flush=True)
        self._said_at = now


def in_words(seconds: float) -> str:
    """Seconds below two minutes, then minutes."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
