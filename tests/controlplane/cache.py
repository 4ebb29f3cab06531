"""The folder, outside the checkout, in which programs are kept and control planes run."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache() -> Path:
    """Below XDG_CACHE_HOME, or below ~/.cache."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "acereason" / "controlplane"


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a file's lock: one process at a time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
