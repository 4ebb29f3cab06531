"""Garbage collection of a store: what no run, pin or live artifact names can go.

Mark: live is what runs keep, what a running attempt was told or has found, what is pinned
(`touch STORE/pins/KEY`), and every ancestor of something live, but for what a run gave up
(`keepIntermediate: final`). A run without a `runs/<run>/status.json` (it lives on a cluster) is
taken to be running. Sweep: all else. While `gc.lock` is held alone, no `prepare` looks for
anything.
"""

import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from acereason_trainer.artifacts.errors import Corrupt
from acereason_trainer.artifacts.locks import holding, is_held
from acereason_trainer.artifacts.manifest import Manifest, read_manifest
from acereason_trainer.artifacts.states import STATES, state_dirs, states_of
from acereason_trainer.artifacts.store import ARTIFACTS, TEMPORARY, DirectoryStore

COLLECTING = "gc.lock"
"""Shared by every `prepare` at work, held alone while garbage is collected."""
PINS = "pins"
"""Files here are named like the artifacts that must stay."""
ABANDONED_SECONDS = 24 * 3600.0
"""What is being written is not touched for a day; no publishing takes so long."""

LEAVING = f"{TEMPORARY}gc-"
"""What a name begins with while its directory is removed."""
NEEDLESS = {
    "best": "weights of a validation",
    "journal": "responses of a step",
    "answers": "answers",
}
"""Of an attempt, where its stage is not gone on with: directory, and what it holds."""

_NAME = re.compile(r"sha256:[0-9a-f]{64}|[A-Za-z]+-[0-9a-f]{32}(?![0-9a-f])")
_TOLD = ("stage.yaml", "prepare.json", "result.json")

KeepStates = Literal["none", "newest", "all"]


@dataclass(frozen=True)
class Kept:
    """What one run keeps, by its spec and status (the operator's planner decides it)."""

    keys: frozenset[str]
    """Of artifacts. What else its status names is given up."""
    states: Mapping[str, KeepStates]
    """By stage; stages that are not named keep none."""


@dataclass(frozen=True)
class Removal:
    """Something that can go."""

    path: str
    """Relative to the store."""
    bytes: int
    """What is gained."""
    why: str
    """For a person."""


def collect(store: DirectoryStore, runs: Mapping[str, Kept]) -> list[Removal]:
    """Remove everything that `removable` names; returns it.

    Raises Held while a `prepare` is at work (`artifacts.locks.Held`), StoreFull.
    """
    with holding(store.root / COLLECTING):
        removals = removable(store, runs)
        for removal in removals:
            _remove(store.root / removal.path)
    return removals


def removable(store: DirectoryStore, runs: Mapping[str, Kept]) -> list[Removal]:
    """What could be removed now. `runs` by name; all that the statuses of others name is kept."""
    return [*_dead_artifacts(store, runs), *_abandoned(store.root), *_old_states(store.root, runs)]


def _dead_artifacts(store: DirectoryStore, runs: Mapping[str, Kept]) -> Iterator[Removal]:
    manifests, invalid = _read_all(store)
    live = _live(manifests, store.root, runs)
    for key, manifest in manifests.items():
        if key not in live:
            yield Removal(f"{ARTIFACTS}/{key}", manifest.total_bytes, "no run names it")
    named = _names(store.root, runs)
    for key in invalid:
        path = store.root / ARTIFACTS / key
        if key not in named and _is_abandoned(path):
            yield Removal(f"{ARTIFACTS}/{key}", _size(path), "has no valid manifest")


def _read_all(store: DirectoryStore) -> tuple[dict[str, Manifest], list[str]]:
    valid, invalid = {}, []
    for key in store.names():
        try:
            valid[key] = read_manifest(store.root / ARTIFACTS / key, Manifest)
        except Corrupt:
            invalid.append(key)
    return valid, invalid


def _live(manifests: Mapping[str, Manifest], root: Path, runs: Mapping[str, Kept]) -> set[str]:
    """Keys of what is named, and of all its ancestors but those that their run gave up."""
    named = _names(root, runs)
    given_up = _given_up(root, runs) - named
    by_digest: dict[str, list[str]] = {}
    for key, manifest in manifests.items():
        by_digest.setdefault(manifest.digest, []).append(key)
    todo = [k for k, m in manifests.items() if k in named or m.digest in named]
    live: set[str] = set()
    while todo:
        key = todo.pop()
        if key in live or key in given_up:
            continue
        live.add(key)
        for digest in manifests[key].parents.values():
            todo.extend(by_digest.get(digest, ()))
    return live


def _names(root: Path, runs: Mapping[str, Kept]) -> set[str]:
    """Keys and digests that pins, runs and running attempts name."""
    found = {pin.name for pin in _children(root / PINS)}
    for kept in runs.values():
        found |= kept.keys
    for run in _runs(root):
        if run not in runs:
            found |= _names_in(root / "runs" / run / "status.json")
        if is_running(root, run):
            for attempt in _attempts(root, run):
                for told in _TOLD:
                    found |= _names_in(attempt / told)
    return found


def _given_up(root: Path, runs: Mapping[str, Kept]) -> set[str]:
    """Keys that a run made or read and does not keep: no descendant brings them back."""
    return {name for run in runs for name in _names_in(root / "runs" / run / "status.json")}


def _runs(root: Path) -> set[str]:
    return {path.name for path in (*_children(root / "runs"), *_children(root / "work"))}


def is_running(root: Path, run: str) -> bool:
    """Whether a process works for the run, or may do so elsewhere."""
    if not (root / "runs" / run / "status.json").exists() or is_held(root / "runs" / run / "lock"):
        return True
    return any(
        is_held(attempt / lock)
        for attempt in _attempts(root, run)
        for lock in ("launcher.lock", "prepare.lock")
    )


def _abandoned(root: Path) -> Iterator[Removal]:
    """What a killed process left half-written, and what stood in an artifact's place."""
    hidden = [
        *root.glob(f"{ARTIFACTS}/.*"),
        *root.glob(f"work/*/*/*/{STATES}/.*"),
        *root.glob(f"work/*/*/*/{LEAVING}*"),
    ]
    for path in sorted(hidden):
        if _is_abandoned(path):
            yield Removal(path.relative_to(root).as_posix(), _size(path), "was never finished")


def _old_states(root: Path, runs: Mapping[str, Kept]) -> Iterator[Removal]:
    for run, kept in runs.items():
        if is_running(root, run):
            continue
        for stage_dir in _children(root / "work" / run):
            keep = kept.states.get(stage_dir.name, "none")
            for name, what in NEEDLESS.items() if keep == "none" else ():
                for path in sorted(stage_dir.glob(f"*/{name}")):
                    why = f"{what}, of a stage with keepStates: none"
                    yield Removal(path.relative_to(root).as_posix(), _size(path), why)
            for path in _states_to_remove(stage_dir, keep):
                why = f"state of a stage with keepStates: {keep}"
                yield Removal(path.relative_to(root).as_posix(), _size(path), why)


def _states_to_remove(stage_dir: Path, keep: KeepStates) -> list[Path]:
    if keep == "all":
        return []
    newest = [state.directory for state in states_of(stage_dir)[: 1 if keep == "newest" else 0]]
    return [path for path in state_dirs(stage_dir) if path not in newest]


def _attempts(root: Path, run: str) -> Iterator[Path]:
    for stage in _children(root / "work" / run):
        yield from _children(stage)


def _names_in(file: Path) -> set[str]:
    if not file.exists():
        return set()
    return set(_NAME.findall(file.read_text(errors="replace")))


def _children(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []


def _is_abandoned(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > ABANDONED_SECONDS
    except FileNotFoundError:  # its writer has just put it in its place
        return False


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def _remove(path: Path) -> None:
    """Out of sight first: a half-removed artifact must not look like a damaged one."""
    leaving = path.with_name(f"{LEAVING}{secrets.token_hex(8)}")
    path.rename(leaving)
    shutil.rmtree(leaving)
