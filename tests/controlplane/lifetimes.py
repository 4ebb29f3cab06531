"""How long a control plane lives: as long as one block of code, or as long as anybody uses it.

Whoever uses a control plane holds a shared lock on a file in its folder. The kernel lets go of it
when the user ends, however it ends. So a folder whose lock can be had alone belongs to nobody: the
last user who leaves in peace removes it, and what a crash left behind is removed by whoever starts
one next.
"""

import fcntl
import json
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO

from tests.controlplane import marked_processes
from tests.controlplane.cache import cache, locked
from tests.controlplane.control_plane import ControlPlane, prepared
from tests.controlplane.programs import programs

_RECORD = "control_plane.json"


def make_ready() -> Mapping[str, Path]:
    """The programs of a control plane, built where they are missing.

    Raises LeftOut where this machine cannot build them, or cannot carry a control plane.
    """
    marked_processes.need_linux()
    return programs()


@contextmanager
def private_control_plane(
    flags: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[ControlPlane]:
    """A control plane for one test, which may stop and pause its programs; 5 s to start.

    flags: further ones by program: {"kube-controller-manager": ["--concurrent-job-syncs=9"]}.
    """
    with shared_control_plane(secrets.token_hex(4), flags) as control_plane:
        yield control_plane


@contextmanager
def shared_control_plane(
    name: str, flags: Mapping[str, Sequence[str]] | None = None
) -> Iterator[ControlPlane]:
    """The control plane of that name, with the CRD; its first user starts it, its last ends it.

    Raises LeftOut where this machine cannot carry one.
    """
    running = cache() / "running"
    found = make_ready()
    with locked(running / ".lock"):
        _sweep(running)
        folder = running / name
        folder.mkdir(exist_ok=True)
        use = _users(folder)
        fcntl.flock(use, fcntl.LOCK_SH)
        try:
            control_plane = _join(folder) or _start(folder, found, flags or {})
        except BaseException:
            _leave(folder, use)
            raise
    try:
        yield control_plane
    finally:
        with locked(running / ".lock"):
            _leave(folder, use)


def remove_abandoned() -> None:
    """End and remove every control plane that nobody uses: what crashes have left."""
    running = cache() / "running"
    with locked(running / ".lock"):
        _sweep(running)


def _sweep(running: Path) -> None:
    for folder in running.iterdir():
        if folder.is_dir():
            _leave(folder, _users(folder))


def _users(folder: Path) -> IO[str]:
    return (folder / "users.lock").open("a")


def _leave(folder: Path, use: IO[str]) -> None:
    """Give a use up; the last one removes the control plane."""
    with use:
        try:
            fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # somebody else uses it
        marked_processes.kill(str(folder))
        shutil.rmtree(folder)


def _join(folder: Path) -> ControlPlane | None:
    record = folder / _RECORD
    if not record.exists():
        return None
    data = json.loads(record.read_text(encoding="utf-8"))
    data["folder"] = Path(data["folder"])
    data["programs"] = {name: Path(path) for name, path in data["programs"].items()}
    return ControlPlane(**data)


def _start(
    folder: Path, found: Mapping[str, Path], flags: Mapping[str, Sequence[str]]
) -> ControlPlane:
    control_plane = prepared(folder, found, flags)
    control_plane.start_all()
    control_plane.install_crd()
    record = json.dumps(asdict(control_plane), default=str)
    (folder / _RECORD).write_text(record, encoding="utf-8")
    return control_plane
