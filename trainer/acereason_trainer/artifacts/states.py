"""Trainer states: what an attempt of a stage goes on from after it was stopped or killed.

    work/<run>/<stage>/<attempt>/states/<step, 8 digits>/   files, then manifest.json

An attempt writes into its own directory only; the next one looks through all of them, and drops
those of earlier attempts that its own make needless. A state
that does not hash to its manifest is passed over for an older one, with a sentence, and stays where
it is: within a stage the newest good state is right, whoever wrote it.
"""

import logging
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from acereason_trainer.artifacts.errors import Corrupt, told_when_full
from acereason_trainer.artifacts.flushing import flush, flush_tree, write_flushed
from acereason_trainer.artifacts.hashing import hash_tree
from acereason_trainer.artifacts.manifest import (
    MANIFEST,
    StateManifest,
    now,
    read_manifest,
    tree_digest,
)
from acereason_trainer.artifacts.verifying import check_content
from acereason_trainer.config.stage_file import ResumeState

STATES = "states"

_log = logging.getLogger(__name__)


def write_state(
    work_dir: Path, key: str, step: int, salt: int, writer: Callable[[Path], None]
) -> StateManifest:
    """Write one state of an attempt; it is there whole or not at all.

    `writer` is given an empty directory to fill. A state of the same step, left by an earlier
    start of this attempt, is replaced. Raises StoreFull; older states are not touched.
    """
    states = work_dir / STATES
    target = states / f"{step:08d}"
    temporary = states / f".tmp-{step:08d}-{secrets.token_hex(8)}"
    replaced = states / f".old-{step:08d}-{secrets.token_hex(8)}"
    try:
        with told_when_full(temporary):
            temporary.mkdir(parents=True)
            writer(temporary)
        files = hash_tree(temporary)
        manifest = StateManifest(
            key=key,
            digest=tree_digest(files),
            files=files,
            step=step,
            salt=salt,
            created_at=now(),
        ).sealed()
        flush_tree(temporary)
        write_flushed(temporary / MANIFEST, manifest.text())
        flush(temporary)
        if target.exists():
            target.rename(replaced)
        temporary.rename(target)
        flush(states)
        return manifest
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def keep_newest(work_dir: Path, keep: int, and_up_to: int | None = None) -> None:
    """Remove all but the `keep` states of an attempt with the most steps.

    With `and_up_to`, the newest state of at most so many steps stays too: what a health stop goes
    back to. States of earlier attempts under the same key and salt go as well once this attempt
    has one of its own, except what `and_up_to` needs while no own state is that old.
    """
    own = sorted(
        (path for path in (work_dir / STATES).glob("*") if path.name.isdigit()), reverse=True
    )
    if not own:
        return
    earlier = _replaced_by(own[0])
    kept = set(own[:keep])
    if and_up_to is not None:
        kept |= set([path for path in own + earlier if int(path.name) <= and_up_to][:1])
    for old in [path for path in own + earlier if path not in kept]:
        leaving = old.with_name(f".old-{old.name}-{secrets.token_hex(8)}")
        try:
            old.rename(leaving)  # a half-removed state must not look like a damaged one
        except FileNotFoundError:  # a collection was first
            continue
        shutil.rmtree(leaving)


def _replaced_by(own: Path) -> list[Path]:
    """States of earlier attempts that would never be gone on from again, newest first: of the same
    work, and of no more steps than `own`."""
    try:
        mine = read_manifest(own, StateManifest)
    except Corrupt:
        return []
    attempt_dir = own.parent.parent
    return [
        state.directory
        for state in states_of(attempt_dir.parent)
        if state.attempt < int(attempt_dir.name)
        and (state.manifest.key, state.manifest.salt) == (mine.key, mine.salt)
        and state.manifest.step <= mine.step
    ]


def newest_state(
    store_root: Path,
    run: str,
    stage: str,
    key: str,
    salt: int,
    before_step: int | None = None,
) -> ResumeState | None:
    """The newest good state of a stage under a key, over all its attempts; None for a fresh start.

    States of this salt count at any step. Those of a lower salt were written before a health
    stop, and count up to `before_step`. Every byte of the state that is returned was hashed;
    damaged ones are passed over with a warning. Raises OSError where the disk cannot be read.
    """
    for found in states_of(store_root / "work" / run / stage):
        if found.manifest.key != key or not _counts(found.manifest, salt, before_step):
            continue
        try:
            manifest = check_content(found.directory, StateManifest)
        except Corrupt as corrupt:
            _log.warning("%s; an older state is looked for", corrupt)
            continue
        return ResumeState(
            path=found.directory.relative_to(store_root).as_posix(),
            step=manifest.step,
            digest=manifest.digest,
        )
    return None


@dataclass(frozen=True)
class State:
    """A state with a readable manifest; its files were not looked at."""

    directory: Path
    """Where it is."""
    attempt: int
    """Number of the attempt that wrote it."""
    manifest: StateManifest
    """What it is made of."""

    def age(self) -> tuple[int, int, int]:
        """Greater is newer: a later salt went on from what it was given of an earlier one."""
        return self.manifest.salt, self.manifest.step, self.attempt


def states_of(stage_dir: Path) -> list[State]:
    """All states below `work/<run>/<stage>`, newest first; unreadable manifests are reported."""
    found = []
    for directory in state_dirs(stage_dir):
        try:
            manifest = read_manifest(directory, StateManifest)
        except Corrupt as corrupt:
            _log.warning("%s; an older state is looked for", corrupt)
            continue
        found.append(State(directory, int(directory.parent.parent.name), manifest))
    return sorted(found, key=State.age, reverse=True)


def state_dirs(stage_dir: Path) -> list[Path]:
    """Directories of all states below `work/<run>/<stage>`, whatever their condition."""
    return sorted(
        path
        for path in stage_dir.glob(f"*/{STATES}/*")
        if path.parent.parent.name.isdigit() and path.name.isdigit()
    )


def _counts(state: StateManifest, salt: int, before_step: int | None) -> bool:
    if state.salt == salt:
        return True
    return state.salt < salt and before_step is not None and state.step <= before_step
