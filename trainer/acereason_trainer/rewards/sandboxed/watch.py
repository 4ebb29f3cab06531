"""Watches a program from outside, and ends it with all that it started."""

import contextlib
import os
import signal
import time

from acereason_trainer.processes import AWAKE, cpu_seconds, stat_words

_MAX_THREADS = 512
_LOOK_EVERY = 0.1


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
        # The kernel's own limit counts ticks, which on a busy machine may be a fifth too many.
        if idle >= idle_limit or cpu_seconds(pid) > cpu_limit:
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
    words = stat_words(pid)
    awake, ticks, threads = words[0] in AWAKE, int(words[11]) + int(words[12]), int(words[17])
    if not awake and 1 < threads <= _MAX_THREADS:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                awake = awake or stat_words(f"{pid}/task/{thread}")[0] in AWAKE
    return awake, ticks, threads


def kill_session(session: int) -> None:
    """End the program, and every process of its session that it left behind."""
    os.kill(session, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):  # it died before it had a session
        os.killpg(session, signal.SIGKILL)
