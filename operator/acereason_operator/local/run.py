"""Carry out a run on this machine: look, decide, write the status, act, wait for a change."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from acereason_operator.api.run import AceReasonRun
from acereason_operator.api.status import RunStatus
from acereason_operator.local import source_files
from acereason_operator.local.jobs import LocalJobs
from acereason_operator.local.run_directory import RunDirectory
from acereason_operator.local.started_again import at_once, started_again
from acereason_operator.local.stopping import StopRequests
from acereason_operator.planner.actions import CreateJob, RecordEvent, RemoveJob, StopJob
from acereason_operator.planner.context import Context
from acereason_operator.planner.observed import Observed
from acereason_operator.planner.plan import Plan, plan
from acereason_operator.planner.recipe import recipe_of
from acereason_operator.planner.status import is_true

STOPPED = "stopped; the same command goes on from here"
"""Message of a stage that Ctrl-C or SIGTERM held back."""
TICK = 0.15
"""Seconds between two looks."""
NEWS = timedelta(seconds=1)
"""A running stage's step alone asks for a new decision at most so often."""


class Audience(Protocol):
    """Whoever is shown how a run goes."""

    def told(self, event: RecordEvent) -> None:
        """Something happened that a person wants to know."""
        ...

    def shown(
        self, status: RunStatus, observed: Observed, waiting_for_cores: Mapping[str, float]
    ) -> None:
        """How things stand: called many times a second."""
        ...


@dataclass(frozen=True)
class LocalRun:
    """A run and where on this machine it is carried out."""

    run: AceReasonRun
    base: Path
    """Directory of the run file: relative paths start there."""
    store: Path
    """Absolute."""
    until: str | None = None
    """Carry out only this stage and its ancestors."""

    @property
    def directory(self) -> RunDirectory:
        """Where its status is."""
        return RunDirectory(self.store, self.run.metadata.name)

    @property
    def context(self) -> Context:
        """What the planner is told of this machine."""
        return Context(
            store=str(self.store),
            resolve=lambda path: str((self.base / path).resolve()),
            namespace="local",
            settling=timedelta(0),
            first_backoff=timedelta(seconds=1),
            longest_backoff=timedelta(seconds=30),
            progress_every=timedelta(seconds=2),
            log_hint="{store}/work/{run}/{stage}/{attempt}/{log}",
            left_out={
                stage.name: f"not asked for: --until {self.until}"
                for stage in self.run.spec.stages
                if stage.name not in self.wanted
            },
            one_process=True,
        )

    @property
    def wanted(self) -> set[str]:
        """Names of the stages that are to be carried out."""
        if self.until is None:
            return {stage.name for stage in self.run.spec.stages}
        return {self.until, *recipe_of(self.run.spec).order.ancestors[self.until]}


def next_start(asked: LocalRun) -> RunStatus:
    """The status from which a start of the run would go on; nothing is changed.

    Raises UnreadableStatus, or OSError where the store cannot be read.
    """
    sources = source_files.look(asked.directory, asked.run.spec, asked.context)
    return started_again(asked.run, asked.directory.status(), asked.context, sources)


def carry_out(asked: LocalRun, audience: Audience, stop: StopRequests) -> RunStatus:
    """Carry out a run until it is done, can go no further, or is stopped; returns its status.

    Raises AlreadyRunning, UnreadableStatus, StoreFull.
    """
    with asked.directory.locked():
        run = asked.directory.apply(asked.run)
        sources = source_files.look(asked.directory, run.spec, asked.context)
        status = started_again(run, asked.directory.status(), asked.context, sources)
        # In this order: a change that is noted before its stages are open is never seen again.
        asked.directory.write_status(status)
        source_files.keep(asked.directory, sources)
        return _Rounds(asked, run, status, audience, stop).to_the_end()


class _Rounds:
    """One process's rounds of look, decide, act."""

    def __init__(
        self,
        asked: LocalRun,
        run: AceReasonRun,
        status: RunStatus,
        audience: Audience,
        stop: StopRequests,
    ) -> None:
        self._directory = asked.directory
        self._context = asked.context
        self._run = run
        self._status = status
        self._audience = audience
        self._stop = stop
        self._jobs = LocalJobs(asked.store, run)
        self._decided_at: datetime | None = None
        self._decided_on = Observed()
        self._decided_to_stop = False
        self._due: datetime | None = None

    def to_the_end(self) -> RunStatus:
        """Rounds until nothing is left to do."""
        self._decide(self._jobs.observe())  # judges what ended while nobody looked
        self._status, self._due = at_once(self._status), _now()
        while True:
            if self._stop.count > 1:
                self._jobs.kill_all()
            observed = self._jobs.observe()
            acted = self._decide(observed) if self._has_news(observed) else False
            self._audience.shown(self._status, observed, self._jobs.waiting)
            if acted:
                continue
            if self._is_over(observed):
                return self._status
            self._jobs.kill_overdue()
            self._stop.wait(TICK)

    def _has_news(self, observed: Observed) -> bool:
        now = _now()
        if self._decided_at is None or (self._due is not None and now >= self._due):
            return True
        if bool(self._stop.count) != self._decided_to_stop:
            return True
        if observed == self._decided_on:
            return False
        if _without_progress(observed) != _without_progress(self._decided_on):
            return True
        return now >= self._decided_at + NEWS

    def _decide(self, observed: Observed) -> bool:
        """Decide, write, act. Returns whether there may be something new to see at once."""
        now, stopping = _now(), self._stop.count > 0
        # Being asked to stop leaves every stage out: attempts end through their own SIGTERM path,
        # nobody pays, and the next start goes on.
        context = _nothing_more(self._run, self._context) if stopping else self._context
        decision = plan(self._run, self._status, observed, now, context)
        changed = decision.status != self._status
        if changed or self._decided_at is None:
            self._directory.write_status(decision.status)
        self._status = decision.status
        self._decided_at, self._decided_on, self._due = now, observed, decision.requeue_at
        self._decided_to_stop = stopping
        return self._act(decision) or changed

    def _act(self, decision: Plan) -> bool:
        created = False
        self._jobs.waiting.clear()
        for action in decision.actions:
            match action:
                case CreateJob():
                    created = self._jobs.create(action) or created
                case StopJob():
                    self._jobs.stop(action)
                case RemoveJob():
                    self._jobs.remove(action)
                case RecordEvent():
                    self._audience.told(action)
        return created

    def _is_over(self, observed: Observed) -> bool:
        if any(not job.finished for job in observed.jobs):
            return False
        if is_true(self._status, "Complete") or is_true(self._status, "Failed"):
            return True
        idle = all(stage.attempt is None for stage in self._status.stages)
        return idle and self._due is None


def _nothing_more(run: AceReasonRun, context: Context) -> Context:
    """The context in which no stage is carried out any more."""
    stopped = {stage.name: STOPPED for stage in run.spec.stages}
    return replace(context, left_out=stopped | dict(context.left_out))


def _without_progress(observed: Observed) -> tuple[object, ...]:
    return tuple(replace(job, progress=None) for job in observed.jobs)


def _now() -> datetime:
    return datetime.now(UTC)
