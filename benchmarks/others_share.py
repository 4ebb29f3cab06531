"""How much of the machine others took while a part was measured.

What all processors worked, less what this process and all that it has started did. Contestants end
without their own end and leave processes behind (a verifier's, vLLM's engine): those come to this
one as children, so that their time is known, too.
"""

import ctypes
import os
from contextlib import suppress
from pathlib import Path

SET_CHILD_SUBREAPER = 36
"""Of Linux's prctl."""
TICKS = os.sysconf("SC_CLK_TCK")


class OthersShare:
    """From its making on."""

    def __init__(self) -> None:
        ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        _reap()  # what a part before has left that ended badly
        self._began = _worked_and_all(), _own()

    def so_far(self) -> float:
        """Of all processors' time, 0 to 1. Processes of ours that still run count as others'."""
        _reap()
        (worked, whole), own = _worked_and_all(), _own()
        (worked_before, whole_before), own_before = self._began
        others = (worked - worked_before) - (own - own_before)
        return min(1.0, max(0.0, others / max(whole - whole_before, 1 / TICKS)))


def _worked_and_all() -> tuple[float, float]:
    """Seconds of all processors. What a hypervisor gave to other machines is work of others."""
    line = Path("/proc/stat").read_text().split("\n", 1)[0]
    seconds = [int(field) / TICKS for field in line.split()[1:9]]
    _, _, _, idle, waiting, *_ = seconds
    return sum(seconds) - idle - waiting, sum(seconds)


def _own() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _reap() -> None:
    """Children that have ended and that nobody waits for."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
