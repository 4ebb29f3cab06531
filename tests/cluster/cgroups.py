"""A node's part of the tree of cgroups, in every mounted hierarchy: made, emptied, removed."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

_PATIENCE = 300.0
"""Seconds within which killed processes are gone."""
_LEAF = "acereason-rest"
"""Cgroup of what a container's own root held."""


def make(name: str) -> None:
    """A cgroup below each root, with the processors, memory and controllers of its parent."""
    for root in _roots():
        group = root / name
        group.mkdir(exist_ok=True)
        if (root / "cgroup.controllers").exists():
            _pass_controllers_on(root)
            continue
        for file in ("cpuset.mems", "cpuset.cpus"):  # empty in a new one of version 1
            if (root / file).exists():
                (group / file).write_text((root / file).read_text())


def _pass_controllers_on(root: Path) -> None:
    """In version 2 a cgroup's children have those controllers alone that it enables for them."""
    enabled = (root / "cgroup.subtree_control").read_text().split()
    missing = set((root / "cgroup.controllers").read_text().split()) - set(enabled)
    if missing and (root / "cgroup.type").exists():  # which the machine's own root has not
        _empty(root)
    for controller in missing:
        (root / "cgroup.subtree_control").write_text(f"+{controller}")


def _empty(root: Path) -> None:
    """A container's root is a cgroup as any other: it enables no controller while processes are in
    it. They go into a leaf, below the same limits, and stay there."""
    leaf = root / _LEAF
    leaf.mkdir(exist_ok=True)
    while pids := set((root / "cgroup.procs").read_text().split()) - {"0"}:  # 0: not of ours
        for pid in pids:
            with suppress(ProcessLookupError):
                (leaf / "cgroup.procs").write_text(pid)


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
