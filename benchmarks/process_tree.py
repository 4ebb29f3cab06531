"""What a process and all its descendants have taken so far."""

import os
from collections.abc import Iterator
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User's and system's time of those that live."""
    return sum(_cpu_seconds(one) for one in _tree(pid))


def peak_mib(pid: int) -> float:
    """Their largest resident memories, one after the other; pages that they share count twice."""
    return sum(_peak_mib(one) for one in _tree(pid))


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
