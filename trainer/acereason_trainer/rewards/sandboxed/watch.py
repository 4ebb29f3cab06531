"""Watches a program from outside, and ends it with all that it started."""

import contextlib
import os
import signal
import time

_MAX_THREADS = 512
_LOOK_EVERY = 0.1
_AWAKE = ("R", "D")


def wait(pid: int, cpu_limit: float, idle_limit: float, deadline: float) -> tuple[str, float]:
    """Wait for the child's end: why it must be ended ("" where it ended by itself), and for how
    many seconds it did nothing. It is not reaped.

    What counts is time asleep. A program that is ready to run but gets no processor is late for
    reasons that are not its own; one that mostly sleeps has only itself to blame.
    """
    idle, used, last, looks, ready = 0.0, 0, time.monotonic(), 0, 0
    while True:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return "", idle
        if signal.sigtimedwait({signal.SIGCHLD}, _LOOK_EVERY):
            continue
        before, last = last, time.monotonic()
        awake, ticks, threads = _seen(pid)
        if ticks == used and not awake:
            idle += last - before
        used = ticks
        looks += 1
        ready += awake
        # What clock_getcpuclockid(3) gives. The kernel's own limit counts ticks, which on a busy
        # machine may be a fifth too many.
        if idle >= idle_limit or time.clock_gettime((~pid << 3) | 2) > cpu_limit:
            return "late", idle
        if threads > _MAX_THREADS:
            return "crowded", idle
        if last >= deadline:
            return ("starved" if 2 * ready > looks else "late"), idle


def _seen(pid: int) -> tuple[bool, int, int]:
    """Whether a thread of a process runs or wants to, its ticks of CPU time, number of threads.

    A process whose first thread has left looks like a zombie as long as another one sleeps, so the
    others are asked too.
    """
    state, ticks, threads = _stat(f"/proc/{pid}/stat")
    awake = state in _AWAKE
    if not awake and 1 < threads <= _MAX_THREADS:
        others = f"/proc/{pid}/task"
        for thread in os.listdir(others):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                awake = awake or _stat(f"{others}/{thread}/stat")[0] in _AWAKE
    return awake, ticks, threads


def _stat(path: str) -> tuple[str, int, int]:
    with open(path, encoding="latin-1") as stat:
        words = stat.read().rpartition(")")[2].split()
    return words[0], int(words[11]) + int(words[12]), int(words[17])


def kill_session(session: int) -> None:
    """End the program, and every process of its session that it left behind."""
    os.kill(session, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):  # it died before it had a session
        os.killpg(session, signal.SIGKILL)
