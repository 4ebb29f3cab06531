"""Trainer states: when they are written, and how a stage goes on from one.

A state is written when `saving.minutesAtRisk` of work would otherwise be lost, and when a stop is
asked for. It holds the policy's own files, `loop.json` (where the loop is) and the curves so far.
With several ranks the first one decides when, and each writes the policy's files that are its own.
How long a stop leaves is the least that any rank has left.

Training waits for a copy in the host's memory, not for the disk: that is written beside it
(state_writing.py), one state at a time. What went wrong there ends the attempt after the next step.
Where memory has no room for a copy, and at a stop, the state is written while training waits.
"""

import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from acereason_trainer.artifacts.errors import StoreFull, told_when_full
from acereason_trainer.artifacts.manifest import FileEntry
from acereason_trainer.artifacts.needless_states import (
    drop_ruled_out,
    drop_unfinished,
    free_disk,
    keep_newest,
    put_aside_beyond,
)
from acereason_trainer.artifacts.states import OpenState, own_states
from acereason_trainer.config.common import Saving
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.host_memory import available
from acereason_trainer.policy.protocol import Policy
from acereason_trainer.rollout.journal import Journal
from acereason_trainer.stage import StageContext, StageFailure, Stopped
from acereason_trainer.state_writing import StateWriting
from acereason_trainer.telemetry.log_line import say
from acereason_trainer.telemetry.recorder import Recorder, read_metrics

LOOP_FILE = "loop.json"
CURVES_FILE = "metrics.jsonl"
SHARE_OF_MEMORY = 0.8
"""Of what is available: a copy of the state must leave room for what the step allocates."""


@dataclass(frozen=True)
class Resumed:
    """Where a loop starts."""

    step: int = 0
    """Completed steps."""
    loop: dict[str, Any] = field(default_factory=dict)
    """What the loop gave to `completed`; empty at the start."""


class Checkpoints:
    """Writes and reads the states of one training stage."""

    def __init__(
        self,
        context: StageContext,
        saving: Saving,
        policy: Policy,
        recorder: Recorder,
        journal: Journal | None = None,
        keep_before: int | None = None,
    ) -> None:
        """keep_before: also keep a state that is at least so many steps old (a health stop goes
        back to it)."""
        self._context = context
        self._saving = saving
        self._policy = policy
        self._recorder = recorder
        self._journal = journal
        self._keep_before = keep_before
        self._saved_at = time.monotonic()
        self._save_seconds = 0.0
        self._writing: StateWriting | None = None
        self._unsaved: Resumed | None = None
        self._has_news = False
        self._has_waited = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """A stop that was asked for keeps the last completed step, if there is time for it.

        Also where this attempt has completed none but has a journal: that of the open step goes
        with a state. A state on its way gets there, unless ranks may be gone.
        """
        if isinstance(error, Stopped):
            self._keep_at_a_stop()
        elif error is None:
            self._finish()
        elif is_everybodys(error):
            self._finish_at_a_health_stop()
        elif self._writing is not None:
            self._writing.give_up()

    def _keep_at_a_stop(self) -> None:
        """What goes wrong costs the last steps alone, as too little time does: it is a stop all the
        same. Raises StoreFull, which the next attempt would meet, too."""
        try:
            if self._unsaved and self._is_worth():
                self._save(self._unsaved, beside=False)
            self._finish()
        except StoreFull:
            raise
        except Exception as e:  # noqa: BLE001 (whatever it is, who asked for the stop is not to blame)
            self._give_up(e)

    def _finish_at_a_health_stop(self) -> None:
        """What ends the attempt is the damage: the next one goes back behind it, and needs no state
        of now."""
        try:
            self._finish()
        except Exception as e:  # noqa: BLE001 (another reason would be gone on from within the damage)
            self._give_up(e)

    def _give_up(self, why: Exception) -> None:
        say(f"no state was kept at the stop ({type(why).__name__}: {why}); an older one stands")
        if self._writing is not None:
            self._writing.give_up()

    def _is_worth(self) -> bool:
        """Whether to save at a stop: the first rank knows how long it takes, and the one that was
        asked first has the least time. All ranks call it."""
        told = self._context.peers.together(lambda: (self._seconds_left, self._seconds_needed))
        _, needed = told[0]
        return needed < min(left for left, _ in told)

    @property
    def _seconds_left(self) -> float:
        """Until this rank may be killed."""
        return self._context.file.grace_seconds - self._context.stop.seconds_since

    @property
    def _seconds_needed(self) -> float:
        """For a state at a stop; without end where it would hold nothing new."""
        if not (self._has_news or self._has_journal):
            return math.inf
        under_way = self._writing is not None and self._writing.seconds is None
        so_far = 0.0 if self._writing is None else self._writing.seconds_so_far
        return max(self._save_seconds, so_far) * (2 if under_way else 1)

    @property
    def _has_journal(self) -> bool:
        return self._journal is not None and self._journal.directory.exists()

    def resume(self) -> Resumed:
        """Load the state that `prepare` chose, or start from the beginning.

        What earlier starts left half-written or half-removed goes first, and what a health stop
        ruled out; own states that were passed over go aside. The first rank's state is everybody's:
        each node was prepared by itself, and a newer one may have come in between.
        """
        peers, work_dir = self._context.peers, self._context.work_dir
        peers.led(self._drop_useless)
        resume = peers.led(lambda: self._context.prepared.resume)
        peers.led(lambda: put_aside_beyond(work_dir, -1 if resume is None else resume.step))
        if resume is None:
            self._recorder.start(0)
            self._unsaved = Resumed()
            return self._unsaved
        directory = self._context.store / resume.path
        peers.together(lambda: _require(directory))
        try:
            self._policy.load_state(directory)
            curves = read_metrics(directory / CURVES_FILE)
            loop = json.loads((directory / LOOP_FILE).read_text())
        except (OSError, KeyError) as error:
            if directory.exists():
                raise
            raise _gone(directory) from error
        self._recorder.start(resume.step, curves)
        self._unsaved = Resumed(resume.step, loop)
        return self._unsaved

    def _drop_useless(self) -> None:
        work_dir, prepared = self._context.work_dir, self._context.prepared
        drop_unfinished(work_dir)
        drop_ruled_out(work_dir, prepared.key, prepared.salt, self._context.file.before_step)

    def completed(self, step: int, loop: dict[str, Any] | None = None) -> None:
        """The policy holds `step` completed steps; a state of them is begun if it is due."""
        self._unsaved, self._has_news = Resumed(step, loop or {}), True
        if self._writing is not None:
            self._context.peers.together(self._writing.check)
        if self._context.peers.led(self._is_due):
            self._save(self._unsaved, beside=True)

    def _is_due(self) -> bool:
        return time.monotonic() - self._saved_at >= self._saving.minutes_at_risk * 60

    def _save(self, state: Resumed, *, beside: bool) -> None:
        """Write a state, beside training or while it waits. All ranks call it."""
        peers = self._context.peers
        with self._recorder.phase("save"):
            self._finish()
            began = time.monotonic()
            opened: list[OpenState] = []
            directory = peers.led(lambda: self._open(state, opened))
            self._writing = StateWriting(
                directory,
                self._writer(directory, beside=beside),
                self._committer(opened, state, done=beside),
                rank=peers.rank,
                world=peers.world,
                began=began,
            )
            if not beside:
                self._finish()
        self._saved_at = time.monotonic()
        self._unsaved, self._has_news = None, False

    def _open(self, state: Resumed, opened: list[OpenState]) -> Path:
        """The leader's: a directory with what the loop and the curves are now."""
        work_dir, prepared = self._context.work_dir, self._context.prepared
        bytes_of_all = self._policy.state_bytes * self._context.peers.world
        if (newest := self._newest()) is not None:
            free_disk(work_dir, bytes_of_all, newest, self._back_to(state))
        opened.append(OpenState(work_dir, prepared.key, state.step, prepared.salt))
        directory = opened[0].directory
        with told_when_full(directory):
            (directory / LOOP_FILE).write_text(json.dumps(state.loop))
            shutil.copyfile(self._recorder.path, directory / CURVES_FILE)
        return directory

    def _newest(self) -> Path | None:
        """The last state that is known to be good."""
        resumed = self._context.prepared.resume
        own = own_states(self._context.work_dir)
        return own[0] if own else (self._context.store / resumed.path if resumed else None)

    def _back_to(self, state: Resumed) -> int | None:
        return None if self._keep_before is None else state.step - self._keep_before

    def _writer(self, directory: Path, *, beside: bool) -> Callable[[Path], Sequence[Path]]:
        """What a rank's thread writes: a copy of the state, or nothing where it is written now."""
        peers = self._context.peers
        leaders = [directory / LOOP_FILE, directory / CURVES_FILE] if peers.leads else []
        if beside and all(peers.together(self._has_memory)):
            copies = peers.kept(self._policy.snapshot)
            return lambda directory: [*leaders, *copies.write(directory)]
        if beside and not self._has_waited:
            self._has_waited = True
            say("the host's memory has no room for a copy of the state; training waits for each")
        with told_when_full(directory):
            written = peers.kept(lambda: self._policy.save_state(directory))
        return lambda _: [*leaders, *written]

    def _has_memory(self) -> bool:
        """Also for what moves to the host when a sampler has its next turn: the copy may be there
        still."""
        each = self._policy.state_bytes + self._policy.room_bytes
        return each * self._context.peers.local_world < SHARE_OF_MEMORY * available()

    def _committer(
        self, opened: Sequence[OpenState], state: Resumed, *, done: bool
    ) -> Callable[[Sequence[FileEntry]], None]:
        """What the leader's thread does at the end.

        done: whether the journal's batches are all of completed steps; at a stop, those of the open
        step go with the state.
        """
        needless = self._journal.batches() if self._journal is not None and done else []

        def commit(files: Sequence[FileEntry]) -> None:
            opened[0].commit(files)
            keep_newest(self._context.work_dir, self._saving.keep, self._back_to(state))
            if self._journal is not None:
                self._journal.forget(needless)

        return commit

    def _finish(self) -> None:
        """Wait for the state that is on its way; raise what went wrong. All ranks call it."""
        if self._writing is None:
            return
        self._context.peers.together(self._writing.wait_for_own_part)
        self._context.peers.led(self._writing.wait)
        self._save_seconds = self._writing.seconds or 0.0
        self._writing = None


def _require(state: Path) -> None:
    if not state.exists():
        raise _gone(state)


def _gone(state: Path) -> StageFailure:
    """An attempt that nobody could end, on a node that does not answer, goes on saving; and a
    node's view of a shared volume may lag."""
    why = f"{state} is not there any more, or not yet: another attempt may have replaced it"
    return StageFailure(ExitCode.TEMPORARY, "StateGone", why)


def is_everybodys(error: BaseException) -> bool:
    """Whether all ranks end with this, and are all still there."""
    return isinstance(error, StageFailure) and error.code == ExitCode.HEALTH_STOP
