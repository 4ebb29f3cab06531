"""A program of the cluster, and waiting for what it brings about."""

import os
import signal
import time
import urllib.error
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.controlplane import marked_processes
from tests.controlplane.control_plane import NotReady

PATIENCE = 600.0
"""Seconds after which something is taken not to come; on an idle machine nothing takes 40."""


@contextmanager
def ahead_of_others() -> Iterator[None]:
    """What is started in this block comes before all else that wants a core, where root may decide
    that: a node that says nothing for seconds is lost, and whoever runs beside it may be hungry."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)  # of this thread, which its children inherit
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


@dataclass(frozen=True)
class Process:
    """One program: how it is started, the mark by which it is found, and where it writes."""

    name: str
    mark: str
    command: Sequence[str | Path]
    log: Path

    @property
    def runs(self) -> bool:
        """Whether it is alive, paused or not."""
        return bool(marked_processes.alive(self.mark))

    def start(self) -> None:
        """Start it; it need not be ready when this returns."""
        marked_processes.start(self.mark, self.command, self.log, os.environ)

    def kill(self) -> None:
        """End it at once, as a power cut does."""
        marked_processes.kill(self.mark)

    def pause(self) -> None:
        """Let it stand still: its connections stay open and answer nothing."""
        self._send(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on after `pause`."""
        self._send(signal.SIGCONT)

    def tail(self) -> str:
        """The end of what it wrote."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return f"The end of the log of {self.name}:\n{text[-2500:]}"

    def _send(self, what: signal.Signals) -> None:
        for number in marked_processes.alive(self.mark):
            marked_processes.send(number, self.mark, what)


def wait(
    what: str,
    holds: Callable[[], bool],
    by: Sequence[Process] = (),
    patience: float = PATIENCE,
) -> None:
    """Return when a condition holds.

    by: who brings it about. NotReady, with the ends of their logs, after `patience` seconds or when
    one of them is gone.
    """
    end = time.monotonic() + patience
    while not is_known_to_hold(holds):
        gone = [process.name for process in by if not process.runs]
        if gone or time.monotonic() > end:
            why = f"{gone[0]} has ended" if gone else f"not within {patience:g} s"
            tails = "\n".join(process.tail() for process in by)
            raise NotReady(f"{what}: {why}. {tails}")
        time.sleep(0.1)


def is_known_to_hold(condition: Callable[[], bool]) -> bool:
    """False too where a busy server did not answer in time, or said that it is busy: it is asked
    again."""
    try:
        return condition()
    except TimeoutError:
        return False
    except urllib.error.HTTPError as error:
        if error.code in (429, 503):
            return False
        raise
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            return False
        raise
