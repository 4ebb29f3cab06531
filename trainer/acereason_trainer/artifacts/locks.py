"""Locks that end with the process that holds them: flock on a file with the holder's pid in it.

Nobody ever removes such a file: a lock on a file that is gone protects nothing. A look at a lock
(`is_held`) has to take it for an instant, so whoever wants it tries for a moment before giving up.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from acereason_trainer.artifacts.errors import NO_ROOM, told_when_full

LOOKING_SECONDS = 2.0
"""Longer than any look at a lock takes, on a busy machine and on network file systems, too."""


class Held(Exception):
    """Another process holds the lock."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"{path} is held by process {holder or 'unknown'}")
        self.path = path
        self.holder = holder


@contextmanager
def holding(path: Path) -> Iterator[None]:
    """Hold a lock alone, with our pid in its file. Raises Held where another holds it, StoreFull
    where a new file has no room."""
    with _opened(path) as descriptor:
        _take(descriptor, path)
        _sign(descriptor)
        yield


@contextmanager
def sharing(path: Path) -> Iterator[None]:
    """Hold a lock beside others that share it; waits for one who holds it alone. Raises StoreFull
    where a new file has no room."""
    with _opened(path) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock alone."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    with told_when_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + LOOKING_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise Held(path, _holder(path)) from error
            time.sleep(LOOKING_SECONDS / 200)
        else:
            return


def _sign(descriptor: int) -> None:
    """Leave our pid. A full disk still has to be locked: whoever makes room there holds a lock."""
    try:
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise


def _holder(path: Path) -> str:
    return path.read_text(errors="replace").strip()
