"""Waiting for what other processes do, by a condition's name instead of a sleep; and having them
wait."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from acereason_trainer.processes import stat_words

PATIENCE = 120.0
"""Seconds after which what was waited for is taken not to come: far beyond what it takes, since a
busy machine is no fault."""


def wait_for(
    condition: Callable[[], bool],
    what: str,
    told: Callable[[], object] = lambda: "",
    patience: float = PATIENCE,
    every: float = 0.02,
) -> None:
    """Wait until a condition holds; fails by name, with what `told` has to say then.

    every: seconds between two looks, where a look costs something.
    """
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"waited {patience:g} s for {what}; {told()}"
        time.sleep(every)


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        state = stat_words(pid)[0]
    except (FileNotFoundError, ProcessLookupError):  # gone before it was opened, or while it was
        return False
    return state != "Z"


def stands_still(pid: int) -> bool:
    """Whether none of a process's threads runs any more, which is so some time after SIGSTOP."""
    try:
        threads = Path(f"/proc/{pid}/task").glob("*")
        states = [stat_words(f"{pid}/task/{thread.name}")[0] for thread in threads]
    except (FileNotFoundError, ProcessLookupError):  # a thread that ended meanwhile
        return False
    return all(state in "TtZX" for state in states)


@contextmanager
def held(processes: Sequence[int]) -> Iterator[None]:
    """Stop processes meanwhile: what they do waits, however quick or slow the machine is, and
    signals reach them at the end of the block."""
    try:
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        for pid in processes:
            wait_for(partial(stands_still, pid), f"process {pid} to stand still")
        yield
    finally:
        for pid in processes:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
