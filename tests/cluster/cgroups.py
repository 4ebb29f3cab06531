"""A node's part of the tree of cgroups, in every mounted hierarchy: made, emptied, removed."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

_PATIENCE = 300.0
"""Seconds within which killed processes are gone."""


def make(name: str) -> None:
    """A cgroup below each root, with the processors and memory of its parent."""
    for root in _roots():
        group = root / name
        controllers = root / "cgroup.controllers"  # of version 2 only
        if controllers.exists():
            for controller in controllers.read_text().split():
                (root / "cgroup.subtree_control").write_text(f"+{controller}")
        group.mkdir(exist_ok=True)
        if not controllers.exists():
            for file in ("cpuset.mems", "cpuset.cpus"):  # empty in a new one of version 1
                if (root / file).exists():
                    (group / file).write_text((root / file).read_text())


def kill(name: str) -> None:
    """Kill every process in a cgroup and below; returns when the last one is gone."""
    groups = [root / name for root in _roots() if (root / name).exists()]
    end = time.monotonic() + _PATIENCE
    while pids := {pid for group in groups for pid in _processes(group)}:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert time.monotonic() < end, f"processes {sorted(pids)} of {name} outlive SIGKILL"
        time.sleep(0.02)


def remove(name: str) -> None:
    """Kill every process in a cgroup and below, and remove it, as far as it is there."""
    kill(name)
    end = time.monotonic() + _PATIENCE
    for group in [root / name for root in _roots() if (root / name).exists()]:
        for folder in sorted(_folders(group), reverse=True):
            _remove(folder, end)


def _roots() -> list[Path]:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [Path(mount[1]) for mount in mounts if mount[2] in ("cgroup", "cgroup2")]


def _processes(group: Path) -> set[int]:
    found: set[int] = set()
    for folder in _folders(group):
        with suppress(OSError):  # removed meanwhile by its runtime
            found.update(int(line) for line in (folder / "cgroup.procs").read_text().split())
    return found


def _folders(group: Path) -> list[Path]:
    """It and all below; os.walk, unlike rglob, goes on where one is removed under its eyes."""
    return [Path(path) for path, _, _ in os.walk(group)]


def _remove(folder: Path, end: float) -> None:
    """The kernel calls a cgroup busy until the last of its processes is reaped."""
    while folder.exists():
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
