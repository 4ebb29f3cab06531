"""Output that may go away: a closed pipe (`| head`), a terminal that hung up.

What only shows may be lost; a run goes on without anybody who looks.
"""

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def may_be_gone() -> Iterator[None]:
    """Print, and only print, within this: what cannot be written is lost."""
    try:
        yield
    except OSError:
        silence_what_is_gone()


def silence_what_is_gone() -> None:
    """Lead stdout and stderr nowhere where nobody reads them any more."""
    for stream in (sys.stdout, sys.stderr):
        if _is_gone(stream):
            # The descriptor, not the object: children and the interpreter's last flush use it too.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _is_gone(stream: TextIO) -> bool:
    try:
        stream.flush()  # what could not be written is in the buffer still, and fails again
    except OSError:
        return True
    poll = select.poll()
    poll.register(stream.fileno(), select.POLLOUT)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
