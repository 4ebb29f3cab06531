"""Requests to stop: the first one lets stages end as they wish, the second one kills them."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequests:
    """How often the end of this process was asked for, and by which signal first."""

    def __init__(self) -> None:
        self._wake = threading.Event()
        self.signal: int | None = None
        """The first one; None while nobody asked."""
        self.count = 0
        """Requests so far."""

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals (main thread only). One that is ignored, as by nohup, stays so."""
        before = {s: signal.getsignal(s) for s in SIGNALS}
        taken = {s: handler for s, handler in before.items() if handler is not signal.SIG_IGN}
        try:
            for number in taken:
                signal.signal(number, self._asked)
            yield
        finally:
            for number, handler in taken.items():
                signal.signal(number, handler)

    def wait(self, seconds: float) -> None:
        """Sleep so long, or until the next request."""
        if self._wake.wait(seconds):
            self._wake.clear()

    def _asked(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or number
        self.count += 1
        self._wake.set()
