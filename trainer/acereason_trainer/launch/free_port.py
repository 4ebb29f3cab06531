"""A port at which the ranks of one machine meet."""

import fcntl
import os
import random
import socket
import tempfile
from functools import cache
from pathlib import Path

PORTS = range(20_000, 30_000)
"""Below those that Linux gives to whoever connects somewhere, and below a cluster's node ports. Of
the former one could be another program's by the time that a rank has imported torch and listens.
Above those at which a cluster's own programs listen, which may start later."""

_given: set[int] = set()


def free_port() -> int:
    """A port that nobody has now, and that is given to nobody who doesn't ask for it by number.

    Until this process ends, whoever else of this user asks here gets another one, unless there is
    no folder for temporary files in which to say so. Raises OSError where every port of a hundred
    is taken.
    """
    # Not the module's own generator, which whoever seeds it would have in one state.
    tried = random.SystemRandom().choices(PORTS, k=100)
    for port in tried:
        # First, or the probe could be in the way of whoever has it reserved and is about to listen.
        if not _reserve(port):
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    raise OSError(f"none of {len(tried)} ports from {PORTS.start} to {PORTS.stop - 1} is free")


def _reserve(port: int) -> bool:
    """Whether a port was given to nobody; then it is this process's, to its end."""
    if port in _given:
        return False
    file = _reservations()
    if file is not None:
        try:
            # The kernel lets go of it when this process ends, whoever has been forked from it.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except (BlockingIOError, PermissionError):  # POSIX allows both
            return False
        except OSError:  # a file system that knows no locks
            pass
    _given.add(port)
    return True


@cache
def _reservations() -> int | None:
    """A file of this user's, always empty, in which byte N is locked by who was given port N. It
    stays open: to close it once would give back all that this process has."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        path = Path(tempfile.gettempdir()) / f"acereason-ports-{os.getuid()}"
        return os.open(path, flags, 0o600)
    except OSError:
        return None
