"""What Linux offers to a parent that may be killed at any moment, and tells of other processes.

The standard library only, and as little of it as possible: the sandbox of the rewards imports this
file in an interpreter without site-packages.
"""

# ruff: noqa: PTH123, PTH208

import contextlib
import ctypes
import os
import signal
import time

AWAKE = ("R", "D")
"""States of what runs or wants to."""

_PRCTL = getattr(ctypes.CDLL(None, use_errno=True), "prctl", None)
"""None where the system is no Linux."""
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def die_with_parent(parent: int | None = None) -> bool:
    """Have the kernel kill this process when the thread that started it ends, however it ends.

    `parent` is who should be there: where it is gone already, this process ends at once. Returns
    False where the system has no such thing.
    """
    done = _PRCTL is not None and _PRCTL(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) == 0
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    return bool(done)


def adopt_orphans() -> bool:
    """Descendants whose own parent ends become children of this process: it can find and end them.

    False where the system has no such thing.
    """
    return bool(_PRCTL is not None and _PRCTL(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def end_children() -> None:
    """Kill and reap every child, and what their deaths bring here, until there is none.

    SIGCHLD must be blocked: it is waited for. With `adopt_orphans` this reaches every descendant.
    """
    while True:
        try:
            reaped, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if reaped:
            continue
        for child in children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        signal.sigtimedwait({signal.SIGCHLD}, 0.01)


def children() -> list[int]:
    """Process ids of this process's children, zombies among them."""
    own = os.getpid()
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError):
            if int(stat_words(entry)[1]) == own:
                found.append(int(entry))
    return found


def stat_words(of: int | str) -> list[str]:
    """State, parent, ...: the line of proc_pid_stat(5) from its third field on.

    `of` is a process, or one of its threads: `12/task/34`. Raises FileNotFoundError or
    ProcessLookupError where it is gone.
    """
    with open(f"/proc/{of}/stat", encoding="latin-1") as stat:
        # The name in parentheses may hold anything.
        return stat.read().rpartition(")")[2].split()


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process so far. Raises OSError where it is gone."""
    return time.clock_gettime((~pid << 3) | 2)  # what clock_getcpuclockid(3) gives
