"""One run, once: look, decide, write the decision, act on it, say when to look again.

The same loop as on a laptop (`local/run.py`), against an API server. Status is written before
anything is done, in one write, only where it differs, under the condition that nobody wrote since
it was read: so a crash anywhere leaves a decision that whoever looks next carries out, and of two
writers one looks again. Nothing else is kept: a finished or suspended run costs no request.

Notes of progress give way: a thousand runs whose steps move would take two thirds of the writes and
every decision would queue behind them.
"""

import logging
import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from acereason_operator.api.run import AceReasonRun
from acereason_operator.api.status import RunStatus
from acereason_operator.cluster.job import job_for
from acereason_operator.cluster.protocol import (
    EVENT,
    JOB,
    RUN,
    AlreadyExists,
    Cluster,
    ClusterError,
    Conflict,
    NotFound,
    Object,
    Propagation,
    Refused,
)
from acereason_operator.cluster.rendering import Rendering
from acereason_operator.cluster.run_objects import make_objects, objects_for
from acereason_operator.cluster.storage import unsupported
from acereason_operator.cluster.views import refused_view, waits_for_room
from acereason_operator.planner import jobs
from acereason_operator.planner.actions import Action, CreateJob, RecordEvent, RemoveJob, StopJob
from acereason_operator.planner.context import Context
from acereason_operator.planner.digests import digest_of
from acereason_operator.planner.observed import JobView, Observed
from acereason_operator.planner.plan import Plan, plan
from acereason_operator.planner.status import (
    all_stopping,
    refused,
    tells_progress_alone,
    worth_writing,
)
from acereason_operator.planner.times import earliest
from acereason_operator.runtime import doubts, ledger, rank_zero
from acereason_operator.runtime.event_objects import event_for
from acereason_operator.runtime.guarded import NotLeading
from acereason_operator.runtime.look import Look, Sight
from acereason_operator.runtime.metrics import Metrics
from acereason_operator.runtime.progress import ProgressReader
from acereason_operator.runtime.remembered import RUN_OBJECTS
from acereason_operator.runtime.run_reader import RunReader, Unreadable, status_of
from acereason_operator.runtime.seen import RunKey, Seen, controller_of, name_of, uid_of

_log = logging.getLogger(__name__)

LOOK_AFTER_CREATING = timedelta(seconds=5)
"""A new Job has deadlines that the plan which made it did not know. Its first change brings the run
back anyway; this is for a Job that nobody touches."""
PUT_OFF = timedelta(seconds=15)
"""A note of progress that gives way to decisions is tried again after 0.5 to 1.5 times that."""
LEFT_ALONE = "Jobs of it that run are left alone"
NO_ROOM = timedelta(seconds=60)
"""A Job for which there is no room is tried again after 0.5 to 1.5 times that: nothing tells when a
quota has room."""
ROUNDS = 10
"""Conflicts in a row before a run goes to the end of the queue."""


@dataclass
class Reconciler:
    """Carries runs out. `cluster` may raise NotLeading on writes, which is passed on."""

    cluster: Cluster
    seen: Seen
    look: Look
    progress: ProgressReader
    options: Rendering
    context: Context
    metrics: Metrics
    may_write_more: Callable[[], bool]
    """Whether there is room for writes that can wait."""
    now: Callable[[], datetime]
    instance: str
    """Name of this replica, for Events."""
    reader: RunReader = field(default_factory=RunReader)

    async def reconcile(self, key: RunKey) -> datetime | None:
        """Bring a run as far as it goes now; returns when to look again. Raises ClusterError,
        UnreadableStatus."""
        refusals = Observed()
        for _ in range(ROUNDS):
            run = self.seen.run(key)
            if run is None or "deletionTimestamp" in run["metadata"]:
                self.progress.follow(key, frozenset())
                self.reader.forget(key)
                return None
            wanted = self.reader.run(run)
            try:
                if isinstance(wanted, Unreadable):
                    # Perhaps a newer operator made its Jobs, and is about to come back.
                    self.progress.follow(key, frozenset())
                    said = f"{wanted.sentence}; {LEFT_ALONE}"
                    await self._give_up(run, status_of(run), "Unreadable", said)
                    return None
                if sentence := unsupported(wanted):
                    kept = all_stopping(status_of(run), "Edited")
                    await self._give_up(run, kept, "Unsupported", sentence)
                    await self._stop_all(run)
                    return None
                new, again_at = await self._round(run, wanted, refusals)
            except Conflict:
                await self._read_again(run)
                continue
            if new == Observed():
                return again_at
            refusals = _both(refusals, new)
        raise Conflict(f"somebody else writes the status of {'/'.join(key)} again and again", 409)

    async def _round(
        self, run: Object, wanted: AceReasonRun, refusals: Observed
    ) -> tuple[Observed, datetime | None]:
        """Returns Jobs that the server refuses, to be planned with, and when to look again."""
        before = status_of(run)
        decided, sight = await self._decide(run, wanted, before, refusals)
        at = rank_zero.sources(wanted, decided.status, sight.ranks_zero, self.options)
        self.progress.follow(name_of(run), at)
        put_off = None
        if tells_progress_alone(before, decided.status) and not self.may_write_more():
            written, put_off = run, self.now() + PUT_OFF * random.uniform(0.5, 1.5)
        else:
            written = await self._write(run, before, decided.status)
        if written is not run:
            ledger.record(self.metrics, wanted, before, decided.status, sight.observed)
        new = await self._act(written, wanted, decided.actions)
        created = any(isinstance(action, CreateJob) for action in decided.actions)
        soon = self.now() + LOOK_AFTER_CREATING if created else None
        no_room = self.now() + NO_ROOM * random.uniform(0.5, 1.5) if refusals.no_room else None
        return new, earliest(decided.requeue_at, sight.again_at, soon, put_off, no_room)

    async def _decide(
        self, run: Object, wanted: AceReasonRun, status: RunStatus, refusals: Observed
    ) -> tuple[Plan, Sight]:
        """A plan that rests on no absence that only the cache shows."""
        while True:
            now = self.now()
            sight = await self.look.at(run, status, now)
            observed = _both(sight.observed, refusals)
            decided = plan(wanted, status, observed, now, self.context)
            absent = doubts.absent_jobs(status, observed, decided)
            found = [await self.look.finds(run, job) for job in absent]
            if not any(found):
                return decided, sight

    async def _write(self, run: Object, before: RunStatus, after: RunStatus) -> Object:
        """The run as it is after the write; the same where none was needed."""
        if not worth_writing(before, after):
            return run
        try:
            written = await self.cluster.write_status(run, after.dump())
        except NotFound:
            # It is read again before that is believed.
            raise Conflict(f"run {name_of(run)[1]} is gone", 404) from None
        self.seen.take(RUN, written)
        return written

    async def _give_up(self, run: Object, status: RunStatus, reason: str, sentence: str) -> None:
        """Say why nothing is done for this generation of a run; the next edit is looked at anew.

        status: what is kept of it.
        """
        before, generation = status_of(run), run["metadata"]["generation"]
        after = refused(status, generation, reason, sentence, self.now())
        if before.observed_generation == generation and before.conditions == after.conditions:
            return
        written = await self._write(run, before, after)
        await self._tell(RecordEvent("Warning", f"Run{reason}", sentence), written)

    async def _stop_all(self, run: Object) -> None:
        """End what runs of a run that is not carried out."""
        self.progress.follow(name_of(run), frozenset())
        sight = await self.look.at(run, status_of(run), self.now())
        for action in jobs.to_stop({}, sight.observed):
            await self._delete(run, action.name, "Foreground")

    async def _read_again(self, run: Object) -> None:
        namespace, name = name_of(run)
        fresh = await self.cluster.get(RUN, namespace, name)
        if fresh is not None:
            self.seen.take(RUN, fresh)
        else:
            self.seen.take_absence(RUN, (namespace, name), int(run["metadata"]["resourceVersion"]))

    async def _act(self, run: Object, wanted: AceReasonRun, actions: Iterable[Action]) -> Observed:
        """Carry out a plan; returns the Jobs that the server will not have, or not now."""
        refused: list[JobView] = []
        no_room: dict[str, str] = {}
        for action in actions:
            match action:
                case CreateJob():
                    try:
                        await self._create(run, wanted, action)
                    except Refused as error:
                        if waits_for_room(error):
                            no_room[action.name] = str(error)
                        else:
                            refused.append(refused_view(action, error))
                case StopJob():
                    await self._delete(run, action.name, "Foreground")
                case RemoveJob():
                    await self._delete(run, action.name, "Background")
                case RecordEvent():
                    await self._tell(action, run)
        return Observed(tuple(refused), no_room)

    async def _create(self, run: Object, wanted: AceReasonRun, action: CreateJob) -> None:
        """Make a Job, and before it whatever the run itself needs. That an earlier Job found it is
        no proof that it is still there: an attempt may have failed for want of it."""
        objects = digest_of([*objects_for(wanted)])
        marks = (job["metadata"]["annotations"].get(RUN_OBJECTS) for job in self.seen.jobs(run))
        if objects not in marks or action.attempt > 1:
            await make_objects(self.cluster, wanted)
        body = job_for(action, wanted, self.options)
        body["metadata"].setdefault("annotations", {})[RUN_OBJECTS] = objects
        try:
            made = await self.cluster.create(JOB, body)
        except AlreadyExists:
            made = await self._ours(run, action.name)
        except Refused as error:
            # Quota is judged before the name is looked up: an earlier try, whose answer was lost,
            # may have made the Job that leaves no room.
            if not waits_for_room(error) or not await self._exists(run, action.name):
                raise
            made = await self._ours(run, action.name)
        self.seen.take(JOB, made)

    async def _exists(self, run: Object, name: str) -> bool:
        return await self.cluster.get(JOB, name_of(run)[0], name) is not None

    async def _ours(self, run: Object, name: str) -> Object:
        """The Job that is there already. Raises Refused where it is not this run's."""
        namespace, _ = name_of(run)
        found = await self.cluster.get(JOB, namespace, name)
        if found is None:
            raise Conflict(f"Job {name} was there and is gone", 409)
        if controller_of(found) != uid_of(run):
            raise Refused(f"a Job {name} that is not of this run is in its place; remove it", 409)
        return found

    async def _delete(self, run: Object, name: str, propagation: Propagation) -> None:
        """Delete a Job with its pods, which get their grace period; at most once."""
        job = next((j for j in self.seen.jobs(run) if j["metadata"]["name"] == name), None)
        if job is None or "deletionTimestamp" in job["metadata"]:
            return
        await self.cluster.delete(JOB, *name_of(job), uid_of(job), propagation)
        self.seen.ask_deleted(JOB, name_of(job), self.now())

    async def tell_of_trouble(self, key: RunKey, sentence: str) -> None:
        """Post an Event on what keeps a run from being carried out, for whoever looks at the run
        and not at the operator's log. One that cannot be posted either is lost."""
        run = self.seen.run(key)
        if run is None:
            return
        told = f"it cannot be carried out now and is tried again: {sentence}"
        with suppress(NotLeading):
            await self._tell(RecordEvent("Warning", "RunDelayed", told), run)

    async def _tell(self, told: RecordEvent, run: Object) -> None:
        """Post an Event. One that cannot be posted is lost: status says the same."""
        try:
            await self.cluster.create(EVENT, event_for(told, run, self.instance, self.now()))
        except AlreadyExists:
            return
        except ClusterError as error:
            _log.info("an Event was not posted (%s): %s", error, told.message)


def _both(seen: Observed, refusals: Observed) -> Observed:
    return Observed((*seen.jobs, *refusals.jobs), {**seen.no_room, **refusals.no_room})
