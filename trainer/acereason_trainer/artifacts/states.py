"""Trainer states: what an attempt of a stage goes on from after it was stopped or killed.

    work/<run>/<stage>/<attempt>/states/<step, 8 digits>/   files, then manifest.json

An attempt writes into its own directory only; the next one looks through all of them. A state that
does not hash to its manifest, or has a form that is not read any more, is passed over for an older
one, with a sentence, and stays where it is: within a stage the newest good state is right, whoever
wrote it.
"""

import logging
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from acereason_trainer.artifacts.errors import Corrupt, told_when_full
from acereason_trainer.artifacts.flushing import flush, write_flushed
from acereason_trainer.artifacts.manifest import (
    MANIFEST,
    FileEntry,
    StateManifest,
    now,
    read_manifest,
    tree_digest,
)
from acereason_trainer.artifacts.verifying import check_content
from acereason_trainer.config.stage_file import ResumeState

STATES = "states"
FILES_OF_OLD_FORMS = frozenset({"policy.pt"})
"""A state with one of these was written by a version whose form is not read any more."""
FORM = 1
"""Of the files of a state, what a loop keeps among them. Raised when a version before could not go
on from what is written now; what was written before must be read on, or be told of as above."""
LOOKS = 3
"""At the states of a stage, while some of them go."""

_log = logging.getLogger(__name__)


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


class OpenState:
    """A state that is being written: there as a whole once it is committed, or not at all.

    Of one that is not, the directory is the writer's to remove.
    """

    def __init__(self, work_dir: Path, key: str, step: int, salt: int) -> None:
        """Makes an empty directory to fill. Raises StoreFull."""
        self._states = work_dir / STATES
        self._key, self._step, self._salt = key, step, salt
        self._own_part = secrets.token_hex(8)
        self.directory = self._states / f".tmp-{step:08d}-{self._own_part}"
        with told_when_full(self.directory):
            self.directory.mkdir(parents=True)

    def commit(self, files: Sequence[FileEntry]) -> StateManifest:
        """Seal the directory with these files in it, all flushed, and put it in its place.

        A state of the same step, left by an earlier start of this attempt, is replaced.
        """
        manifest = StateManifest(
            key=self._key,
            digest=tree_digest(files),
            files=sorted(files, key=lambda file: file.path),
            step=self._step,
            salt=self._salt,
            form=FORM,
            created_at=now(),
        ).sealed()
        target = self._states / f"{self._step:08d}"
        replaced = self._states / f".old-{self._step:08d}-{self._own_part}"
        try:
            write_flushed(self.directory / MANIFEST, manifest.text())
            flush(self.directory)
            if target.exists():
                target.rename(replaced)
            self.directory.rename(target)
            flush(self._states)
        finally:
            if replaced.exists() and not target.exists():
                replaced.rename(target)
            shutil.rmtree(replaced, ignore_errors=True)
        return manifest


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
    damaged ones are passed over with a warning. Where one is removed meanwhile, by an attempt that
    nobody could end, that attempt has newer ones, and all are looked through again. Raises OSError
    where the disk cannot be read.
    """
    for found in states_of(store_root / "work" / run / stage):
        if found.manifest.key != key or not counts(found.manifest, salt, before_step):
            continue
        if FILES_OF_OLD_FORMS & {file.path for file in found.manifest.files}:
            _log.warning(
                "%s was written by a version whose states are not read any more; an older one is "
                "looked for, or else the stage begins anew",
                found.directory,
            )
            continue
        if (form := found.manifest.form or 0) > FORM:
            _log.warning(
                "%s was written by a newer version (states of form %d; this one reads up to %d); "
                "an older one is looked for, or else the stage begins anew",
                found.directory,
                form,
                FORM,
            )
            continue
        try:
            manifest = check_content(found.directory, StateManifest)
        except (Corrupt, FileNotFoundError) as error:
            if not found.directory.exists():
                return newest_state(store_root, run, stage, key, salt, before_step)
            if isinstance(error, FileNotFoundError):
                raise
            _log.warning("%s; an older state is looked for", error)
            continue
        return ResumeState(
            path=found.directory.relative_to(store_root).as_posix(),
            step=manifest.step,
            digest=manifest.digest,
        )
    return None


def states_of(stage_dir: Path) -> list[State]:
    """All states below `work/<run>/<stage>`, newest first; unreadable manifests are reported."""
    for _ in range(LOOKS):
        found, is_whole = _read_states(stage_dir)
        if is_whole:
            break
    return sorted(found, key=State.age, reverse=True)


def _read_states(stage_dir: Path) -> tuple[list[State], bool]:
    """States with a readable manifest; and whether none went meanwhile, as it does where an attempt
    that nobody could end has written newer ones."""
    found, is_whole = [], True
    for directory in state_dirs(stage_dir):
        try:
            manifest = read_manifest(directory, StateManifest)
        except Corrupt as corrupt:
            is_whole = is_whole and directory.exists()
            _log.warning("%s; an older state is looked for", corrupt)
            continue
        found.append(State(directory, int(directory.parent.parent.name), manifest))
    return found, is_whole


def state_dirs(stage_dir: Path) -> list[Path]:
    """Directories of all states below `work/<run>/<stage>`, whatever their condition."""
    return sorted(
        path
        for path in stage_dir.glob(f"*/{STATES}/*")
        if path.parent.parent.name.isdigit() and path.name.isdigit()
    )


def own_states(work_dir: Path) -> list[Path]:
    """The states of an attempt, newest first."""
    names = (path for path in (work_dir / STATES).glob("*") if path.name.isdigit())
    return sorted(names, reverse=True)


def counts(state: StateManifest, salt: int, before_step: int | None) -> bool:
    """Whether an attempt of this salt may go on from a state of its own work."""
    if state.salt == salt:
        return True
    return state.salt < salt and before_step is not None and state.step <= before_step
