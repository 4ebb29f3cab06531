"""Trainer states: when they are written, and how a stage goes on from one.

A state is written when `saving.minutesAtRisk` of work would otherwise be lost, and when a stop is
asked for. It holds the policy's own files, `loop.json` (where the loop is) and the curves so far.
With several ranks the first one decides when, and each writes the policy's files that are its own.
"""

import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from acereason_trainer.artifacts.errors import told_when_full
from acereason_trainer.artifacts.states import keep_newest, write_state
from acereason_trainer.config.common import Saving
from acereason_trainer.policy.protocol import Policy
from acereason_trainer.rollout.journal import Journal
from acereason_trainer.stage import StageContext, Stopped
from acereason_trainer.telemetry.recorder import Recorder, read_metrics

LOOP_FILE = "loop.json"
CURVES_FILE = "metrics.jsonl"


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
        self._unsaved: Resumed | None = None
        self._has_news = False

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
        with a state.
        """
        if isinstance(error, Stopped) and self._unsaved and self._context.peers.led(self._is_worth):
            self._save(self._unsaved)

    def _is_worth(self) -> bool:
        """Whether to save at a stop."""
        left = self._context.file.grace_seconds - self._context.stop.seconds_since
        return self._save_seconds < left and (self._has_news or self._has_journal)

    @property
    def _has_journal(self) -> bool:
        return self._journal is not None and self._journal.directory.exists()

    def check_stop(self) -> None:
        """Raise Stopped if a stop was asked for."""
        self._context.check_stop()

    def resume(self) -> Resumed:
        """Load the state that `prepare` chose, or start from the beginning."""
        resume = self._context.prepared.resume
        if resume is None:
            self._recorder.start(0)
            self._unsaved = Resumed()
            return self._unsaved
        directory = self._context.store / resume.path
        self._policy.load_state(directory)
        self._recorder.start(resume.step, read_metrics(directory / CURVES_FILE))
        self._unsaved = Resumed(resume.step, json.loads((directory / LOOP_FILE).read_text()))
        return self._unsaved

    def completed(self, step: int, loop: dict[str, Any] | None = None) -> None:
        """The policy holds `step` completed steps; written now if it is due."""
        self._unsaved, self._has_news = Resumed(step, loop or {}), True
        if self._context.peers.led(self._is_due):
            self._save(self._unsaved)
            if self._journal is not None:
                self._context.peers.led(self._journal.clear)

    def _is_due(self) -> bool:
        return time.monotonic() - self._saved_at >= self._saving.minutes_at_risk * 60

    def _save(self, state: Resumed) -> None:
        began = time.monotonic()
        with self._recorder.phase("save"):
            if self._context.peers.leads:
                self._write_with_peers(state)
            else:
                self._write_own(None)
        self._saved_at = time.monotonic()
        self._save_seconds = self._saved_at - began
        self._unsaved, self._has_news = None, False

    def _write_with_peers(self, state: Resumed) -> None:
        write_state(
            self._context.work_dir,
            key=self._context.prepared.key,
            step=state.step,
            salt=self._context.prepared.salt,
            writer=lambda directory: self._write_all(directory, state),
        )
        keep_newest(
            self._context.work_dir,
            self._saving.keep,
            and_up_to=None if self._keep_before is None else state.step - self._keep_before,
        )

    def _write_all(self, directory: Path, state: Resumed) -> None:
        (directory / LOOP_FILE).write_text(json.dumps(state.loop))
        shutil.copyfile(self._recorder.path, directory / CURVES_FILE)
        self._write_own(directory)

    def _write_own(self, directory: Path | None) -> None:
        """Every rank's part: into the leader's directory, which is complete when all have."""
        peers = self._context.peers
        ours = peers.led(lambda: directory)
        assert ours is not None

        def write() -> None:
            with told_when_full(ours):
                self._policy.save_state(ours)

        peers.together(write)


def earlier_journal(context: StageContext) -> Path | None:
    """Journal of the attempt whose state this one goes on from."""
    resume = context.prepared.resume
    if resume is None:
        return None
    return (context.store / resume.path).parent.parent / "journal"
