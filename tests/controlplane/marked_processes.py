"""Processes that carry a mark in their environment, and are found and ended by it.

A control plane may have to be ended by another process than the one that started it: by the last of
several test workers, or by the next run after a crash. Numbers in a file would not do, since the
kernel gives a dead process's number to somebody else. The mark cannot be anybody else's, and a
pidfd is taken before the mark is read, so that a signal reaches the process that was looked at.
"""

import os
import platform
import select
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.left_out import LeftOut
from tests.waiting import stands_still

_VARIABLE = "ACEREASON_CONTROL_PLANE"


def need_linux() -> None:
    """Raises LeftOut elsewhere: other systems have neither /proc nor pidfds."""
    if sys.platform != "linux":
        raise LeftOut(
            "the tests on an API server and `make controlplane` are left out: its processes are"
            " found by /proc and ended by pidfds, which only Linux has, and this is"
            f" {platform.system()}"
        )


def start(mark: str, command: Sequence[str | Path], log: Path, environ: Mapping[str, str]) -> int:
    """Start a process in a session of its own, its output appended to `log`; its number."""
    arguments = [str(part) for part in command]
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    number = os.posix_spawn(
        arguments[0],
        arguments,
        {**environ, _VARIABLE: mark},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    # The kernel shows a new program's environment a moment after it has started it.
    while not _carries(number, mark) and not _ended(number):
        time.sleep(0.001)
    return number


def alive(mark: str) -> list[int]:
    """Numbers of the living processes whose mark is `mark` or lies below it."""
    numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [number for number in numbers if _carries(number, mark)]


def kill(mark: str) -> None:
    """End every process of the mark at once, and return when they are gone."""
    for number in alive(mark):
        send(number, mark, signal.SIGKILL)


def send(number: int, mark: str, what: signal.Signals) -> None:
    """Send a signal to a process if it carries the mark.

    Waits after SIGKILL until it is gone, after SIGSTOP until none of its threads runs any more: on
    a busy machine they could still answer for a while.
    """
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(number)
        try:
            if _carries(number, mark):
                signal.pidfd_send_signal(handle, what)
                if what == signal.SIGKILL:
                    select.select([handle], [], [])
                    _reap(number)
                if what == signal.SIGSTOP:
                    while not stands_still(number):
                        time.sleep(0.001)
        finally:
            os.close(handle)


def _carries(number: int, mark: str) -> bool:
    try:
        environment = Path(f"/proc/{number}/environ").read_bytes()
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        return False  # gone, or somebody else's
    variable = f"{_VARIABLE}=".encode()
    carried = [
        v[len(variable) :].decode() for v in environment.split(b"\0") if v.startswith(variable)
    ]
    return any(value == mark or value.startswith(f"{mark}/") for value in carried)


def _ended(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _reap(number: int) -> None:
    with suppress(ChildProcessError):  # started by another process, which reaps it
        os.waitpid(number, 0)
