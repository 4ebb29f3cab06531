"""What is seen of one run, good enough to plan on: cached, and read live where that is in doubt."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

from acereason_trainer.config.stage_file import Progress

from acereason_operator.api.status import RunStatus
from acereason_operator.cluster import labels
from acereason_operator.cluster.pod_view import starts_since
from acereason_operator.cluster.protocol import EVENT, JOB, POD, Cluster, Kind, Object
from acereason_operator.cluster.views import job_view
from acereason_operator.planner.observed import JobView, Observed
from acereason_operator.planner.times import earliest, parse_time
from acereason_operator.runtime import doubts
from acereason_operator.runtime.nodes import Nodes
from acereason_operator.runtime.rank_zero import RankZero, rank_zero
from acereason_operator.runtime.seen import Seen, controller_of, name_of, uid_of

Value = TypeVar("Value")

UNEXPLAINED = timedelta(seconds=10)
"""A Job without pods after so long has Events that say why; they are read as often."""
NOT_STARTED = timedelta(minutes=1)
"""A pod that has a node and still starts after so long pulls a large image, or has Events that say
why it cannot; they are read as often, since no watch tells of them."""
ASKED = 1024
"""Jobs and pods whose live reads are remembered."""


@dataclass(frozen=True)
class Sight:
    """A look at one run."""

    observed: Observed
    again_at: datetime | None
    """When to look again even if nothing is seen to change."""
    ranks_zero: dict[str, RankZero]
    """By name of a Job in its train phase."""


@dataclass
class Look:
    """Looks at runs."""

    cluster: Cluster
    seen: Seen
    progress: Callable[[str], Progress | None]
    """What rank 0 of a Job, by its uid, last said."""
    step_since: Callable[[str], datetime | None]
    """When rank 0 of a Job, by its uid, was first seen at that step."""
    progress_unknown: Callable[[str], str | None]
    """Why rank 0 of a Job, by its uid, says nothing; empty where it does, None where that is not
    certain yet."""
    nodes: Nodes = field(init=False)
    _pods_read: "OrderedDict[str, str]" = field(default_factory=OrderedDict)
    """By uid: the version of a Job at which its pods were read live."""
    _events_read: "OrderedDict[str, tuple[float, tuple[Object, ...]]]" = field(
        default_factory=OrderedDict
    )

    def __post_init__(self) -> None:
        self.nodes = Nodes(self.cluster)

    async def at(self, run: Object, status: RunStatus, now: datetime) -> Sight:
        """Every Job of a run. Raises ClusterError where it has to be sure and cannot.

        The pods of a Job that is finished and judged say nothing any more and are left out.
        """
        claimed = {stage.attempt.job for stage in status.stages if stage.attempt is not None}
        views: list[JobView] = []
        again: list[datetime | None] = []
        ranks_zero: dict[str, RankZero] = {}
        for job in self.seen.jobs(run):
            open_ = job["metadata"]["name"] in claimed or not _finished(job)
            pods = self.seen.pods(name_of(run), job) if open_ else []
            view = await self._view(job, pods, now)
            if job["metadata"]["name"] in claimed and await self._pods_were_missing(job, view):
                pods = self.seen.pods(name_of(run), job)
                view = await self._view(job, pods, now)
            views.append(view)
            if view.phase == "Train" and (found := rank_zero(uid_of(job), pods)):
                ranks_zero[view.name] = found
            again.append(doubts.next_look(pods, now))
            if open_ and _waits_for_pods(view):
                again.append(now + UNEXPLAINED)
            if open_ and (since := doubts.starts_since(pods)):
                asked = since + NOT_STARTED
                again.append(asked if asked > now else now + NOT_STARTED)
        return Sight(Observed(tuple(views)), earliest(*again), ranks_zero)

    async def finds(self, run: Object, job: str) -> bool:
        """Whether the server itself has a Job of this run by that name; if so it is seen now."""
        namespace, _ = name_of(run)
        found = await self.cluster.get(JOB, namespace, job)
        if found is None or controller_of(found) != uid_of(run):
            return False
        # A watch may have told of it, or of its end, while we asked: the newest news count.
        self.seen.take(JOB, found)
        return any(known["metadata"]["name"] == job for known in self.seen.jobs(run))

    async def _view(self, job: Object, pods: list[Object], now: datetime) -> JobView:
        ready = await self.nodes.ready(doubts.nodes(pods, now))
        uid = uid_of(job)

        def view(events: tuple[Object, ...] = ()) -> JobView:
            progress = self.progress(uid)
            seen = job_view(job, pods, lambda node: ready.get(node, True), progress, events)
            since, unknown = self.step_since(uid), self.progress_unknown(uid)
            return replace(seen, step_since=since, progress_unknown=unknown)

        plain = view()
        events = await self._explaining(job, pods, plain, now)
        return view(events) if events else plain

    async def _explaining(
        self, job: Object, pods: list[Object], view: JobView, now: datetime
    ) -> tuple[Object, ...]:
        """Events that say what an attempt waits for, where its objects do not. Of pods that do not
        start, the one is asked about that has had its node for longest: most often all wait for the
        same, and a list of Events costs the server more than most reads."""
        created = parse_time(job["metadata"]["creationTimestamp"])
        if _waits_for_pods(view) and now >= created + UNEXPLAINED:
            return await self._events_of(JOB, job, UNEXPLAINED)
        since = doubts.starts_since(pods)
        if view.finished or view.stopping or since is None or now < since + NOT_STARTED:
            return ()
        oldest = next(pod for pod in pods if starts_since(pod) == since)
        return await self._events_of(POD, oldest, NOT_STARTED)

    async def _pods_were_missing(self, job: Object, view: JobView) -> bool:
        """Read the pods of a Job live where the cache cannot hold all that ended, once for each
        change of the Job. Returns whether that was done."""
        uid, version = uid_of(job), job["metadata"]["resourceVersion"]
        if not doubts.lacks_pods(view) or self._pods_read.get(uid) == version:
            return False
        namespace, name = name_of(job)
        found = await self.cluster.list(POD, namespace, {labels.JOB_NAME: name})
        for pod in found.items:
            self.seen.take(POD, pod)
        _remember(self._pods_read, uid, version)
        return True

    async def _events_of(self, kind: Kind, about: Object, fresh: timedelta) -> tuple[Object, ...]:
        """Events of a Job or a pod, read again where the last answer is not fresh any more."""
        uid, at = uid_of(about), asyncio.get_running_loop().time()
        known = self._events_read.get(uid)
        if known is not None and at - known[0] < fresh.total_seconds():
            return known[1]
        namespace, name = name_of(about)
        fields = {"regarding.kind": kind.kind, "regarding.name": name}
        events = (await self.cluster.list(EVENT, namespace, fields=fields)).items
        _remember(self._events_read, uid, (at, events))
        return events


def _finished(job: Object) -> bool:
    return any(
        c["type"] in ("Complete", "Failed") and c["status"] == "True"
        for c in job["status"].get("conditions", [])
    )


def _waits_for_pods(view: JobView) -> bool:
    return not (view.pods or view.finished or view.queued or view.stopping)


def _remember(known: "OrderedDict[str, Value]", uid: str, value: Value) -> None:
    known[uid] = value
    known.move_to_end(uid)
    while len(known) > ASKED:
        known.popitem(last=False)
