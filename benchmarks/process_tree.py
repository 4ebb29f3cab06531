"""What a process and all its descendants have taken so far, and the end of those it leaves."""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User's and system's time of those that live."""
    return sum(_cpu_seconds(one) for one in _tree(pid))


def peak_mib(pid: int) -> float:
    """Their largest resident memories, one after the other; pages that they share count twice."""
    return sum(_peak_mib(one) for one in _tree(pid))


def descendants(pid: int) -> list[int]:
    """Process ids of those that live, parents before their children."""
    return [int(one.name) for one in _tree(pid)][1:]


def end_orphans(orphans: Iterable[int]) -> None:
    """Kill and reap these, parents first, as far as they are children of this process by now; it
    must have asked for orphans (others_share.py), or they are another's to reap."""
    for pid in orphans:
        with suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _tree(pid: int) -> Iterator[Path]:
    here = Path(f"/proc/{pid}")
    yield here
    for children in here.glob("task/*/children"):
        for child in _read(children).split():
            yield from _tree(int(child))


def _cpu_seconds(process: Path) -> float:
    fields = _read(process / "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS if fields else 0.0


def _peak_mib(process: Path) -> float:
    lines = _read(process / "status").splitlines()
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def _read(path: Path) -> str:
    """Nothing where the process is gone."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
