"""What can be wrong with a store, as errors whose text is one sentence for a person."""

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Corrupt(Exception):
    """A directory of the store is not what its manifest or its reference says."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path} is corrupt: {what}")
        self.path = path
        self.what = what


class NotFound(Exception):
    """An artifact that was referred to is not in the store."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is not there; was it collected, or is this another store than the run's?"
        )
        self.path = path


class StoreFull(Exception):
    """The store has no room (or no quota) left. Nothing published was touched."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"no room left to write {path} ({why}); free some "
            "(`acereason artifacts gc --dry-run` shows what can go) and start again"
        )
        self.path = path


NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Numbers of an OSError for a disk, a quota or a limit that is used up."""
AWAY = frozenset(
    {
        errno.EIO,
        errno.ENODEV,
        errno.EROFS,
        errno.ESTALE,
        errno.ENOTCONN,
        errno.ETIMEDOUT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
    }
)
"""Numbers of an OSError for a disk or a volume that fails or is not there any more; a system that
finds damage mounts it read-only."""
_FULL_BYTES = 1 << 20
"""Less room than this is none: what fails on such a disk fails for that reason."""
_SAID = re.compile(r"\(os error (\d+)\)")
"""The system's number, as writers in Rust (safetensors) tell it in errors of their own. They remove
what they had written, so that the disk has room again by the time it is asked."""


@contextmanager
def no_room_told(path: Path) -> Iterator[None]:
    """Turn what the operating system says of "no room" into StoreFull, which names the file where
    the system does, or else `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise StoreFull(Path(error.filename or path), error.strerror or str(error)) from error
        raise


@contextmanager
def told_when_full(path: Path) -> Iterator[None]:
    """Turn "no room" into StoreFull, which names what was being written.

    The operating system says it in an OSError. Writers of tensors raise errors of their own: where
    those hold the system's number, they become the OSError that they stand for; else the disk
    itself is asked.
    """
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise StoreFull(path, error.strerror or str(error)) from error
        raise
    except StoreFull:
        raise
    except Exception as error:
        said = _SAID.search(str(error))
        number = int(said[1]) if said else None
        if number in NO_ROOM or _is_full(path):
            raise StoreFull(path, str(error)) from error
        if number is not None:
            raise OSError(number, str(error), str(path)) from error
        raise


def _is_full(path: Path) -> bool:
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    return shutil.disk_usage(there).free < _FULL_BYTES
