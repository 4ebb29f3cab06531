"""Trainer states that nobody goes on from any more, and how they go.

An attempt drops older states of its own, those of earlier attempts that its own make needless, and
what these were writing when they were killed.
"""

import logging
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from acereason_trainer.artifacts.errors import Corrupt
from acereason_trainer.artifacts.manifest import StateManifest, read_manifest
from acereason_trainer.artifacts.states import STATES, counts, own_states, states_of

_log = logging.getLogger(__name__)


def keep_newest(work_dir: Path, keep: int, and_up_to: int | None = None) -> None:
    """Remove all but the `keep` states of an attempt with the most steps.

    With `and_up_to`, what a health stop goes back to stays too: the newest state of at most so many
    steps, and the one that takes its place. States of earlier attempts under the same key and salt
    go as well once this attempt has one of its own, but for those two.
    """
    own = own_states(work_dir)
    if not own:
        return
    earlier = _replaced_by(own[0], up_to_attempt=int(work_dir.name) - 1)
    first = int(own[-1].name)  # this attempt passed over those of more steps that it did not write
    line = own + [path for path in earlier if int(path.name) < first]
    kept = {*own[:keep], *_to_go_back_to(line, and_up_to)}
    for old in [path for path in own + earlier if path not in kept]:
        remove(old)


def drop_ruled_out(work_dir: Path, key: str, salt: int, before_step: int | None) -> None:
    """Remove what a health stop has ruled out: states of this work and a lower salt that nobody
    goes on from (`newest_state`). A later health stop goes back less far, and would take them for
    good ones."""
    for state in states_of(work_dir.parent):
        lower = state.manifest.key == key and state.manifest.salt < salt
        if lower and not counts(state.manifest, salt, before_step):
            _log.warning("%s is removed: a health stop went back behind it", state.directory)
            remove(state.directory)


def put_aside_beyond(work_dir: Path, step: int) -> None:
    """Take states of an attempt with more steps than this out of the way: it has gone on from an
    earlier one, as they are damaged or of a form that is not read, and none of them must count as
    its newest. The next start removes them (`drop_unfinished`)."""
    for state in own_states(work_dir):
        if int(state.name) > step:
            aside = state.with_name(f".old-{state.name}-{secrets.token_hex(8)}")
            _log.warning("%s was passed over and is now %s", state, aside.name)
            state.rename(aside)


def free_disk(work_dir: Path, needed: int, newest: Path, and_up_to: int | None = None) -> None:
    """Remove states that `newest` makes needless, oldest first, until `needed` bytes are free.

    newest: the last state that is known to be good, of this attempt or an earlier one; it stays,
    and so does what a health stop would go back to now. The state that takes that one's place goes
    last. Where that frees too little, the writing itself finds out.
    """
    before = _replaced_by(newest, up_to_attempt=int(work_dir.name))
    needed_later = _to_go_back_to([newest, *before], and_up_to)
    back = [path for path in needed_later if and_up_to is not None and int(path.name) <= and_up_to]
    plain = [path for path in reversed(before) if path not in needed_later]
    for path in [*plain, *(p for p in needed_later if p not in back and p != newest)]:
        free = shutil.disk_usage(work_dir).free
        if free >= needed:
            return
        sizes = f"{free / 1e9:.1f} GB free and the next state takes {needed / 1e9:.1f}"
        _log.warning("%s is removed: the disk has %s", path, sizes)
        remove(path)


def drop_unfinished(work_dir: Path) -> None:
    """Remove what earlier starts of this attempt and earlier attempts were writing or removing when
    they were killed: up to the size of a state each, and nobody goes on from it."""
    for states in work_dir.parent.glob(f"*/{STATES}"):
        attempt = states.parent.name
        if not attempt.isdigit() or int(attempt) > int(work_dir.name):
            continue
        for left in sorted([*states.glob(".tmp-*"), *states.glob(".old-*")]):
            _log.warning("%s was never finished and is removed", left)
            remove(left)


def remove(state: Path) -> None:
    """Take the directory of a state away in one step, then what is in it. What does not go costs
    room and no more; the next start of an attempt tries again."""
    leaving = state.with_name(f".old-{secrets.token_hex(8)}")
    try:
        state.rename(leaving)  # a half-removed state must not look like a damaged one
        shutil.rmtree(leaving)
    except FileNotFoundError:  # a collection was first
        return
    except OSError as e:
        _log.warning("%s stays: %s", state, e)


def _to_go_back_to(line: Sequence[Path], and_up_to: int | None) -> list[Path]:
    """What a health stop needs of these states, newest first: the newest of at most `and_up_to`
    steps; and the oldest of more, which becomes that one in time. Without it none ever would:
    states would always be replaced before they are old enough."""
    if and_up_to is None:
        return []
    old = [path for path in line if int(path.name) <= and_up_to]
    return [*old[:1], *[path for path in line if path not in old][-1:]]


def _replaced_by(newest: Path, up_to_attempt: int) -> list[Path]:
    """States that would never be gone on from again, newest first: of the same work, and of no more
    steps than `newest`."""
    try:
        mine = read_manifest(newest, StateManifest)
    except Corrupt:
        return []
    return [
        state.directory
        for state in states_of(newest.parent.parent.parent)
        if state.directory != newest
        and state.attempt <= up_to_attempt
        and (state.manifest.key, state.manifest.salt) == (mine.key, mine.salt)
        and state.manifest.step <= mine.step
    ]
