"""A run with everything in it, and operators that are killed, paused and cut off while they carry
it out.

Replicas share one event loop, whose time jumps. Which of them makes a call is known from the
context of its tasks, so that the hooks of the fake server can trouble one of them alone: a call of
a killed replica never returns, one of a paused replica goes out once it goes on, one of a replica
that is cut off fails. The cluster lives on meanwhile, unless the server itself is down.

The story: data is filtered; SFT on two nodes fails once and is tried again; RL is suspended and
resumed by a person; the same filter again is a reuse; evaluation ends it; a minute later the Jobs
are removed. `Ending` is what must be the same whatever happened on the way.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from acereason_operator.cluster import labels
from acereason_operator.cluster.conditions import condition
from acereason_operator.cluster.protocol import (
    EVENT,
    JOB,
    LEASE,
    NETWORK_POLICY,
    POD,
    RUN,
    SERVICE,
    ClusterError,
    Object,
    Unreachable,
)
from acereason_operator.planner.status import is_true
from acereason_operator.runtime.metrics import Metrics
from acereason_operator.runtime.operator import Operator
from acereason_trainer.config.stage_file import ResultRecord
from fake_cluster import Call, Event, FakeCluster
from fake_controllers import Controllers, End, FakeStore, index_of, text_of
from jumping_time import clock, in_jumping_time
from operators import World, some_settings
from rendering_builders import run_body

Side = Literal["before", "after"]

SPEC: dict[str, Any] = {
    "ttlAfterFinished": "1m",
    "stages": [
        {"name": "prompts", "curate": {}, "inputs": {"data": {"path": "rows.jsonl"}}},
        {"name": "sft", "sft": {}, "nodes": 2},
        {"name": "math", "mathRL": {}, "inputs": {"data": {"stage": "prompts"}}},
        {"name": "again", "curate": {}, "inputs": {"data": {"path": "rows.jsonl"}}},
        {"name": "eval", "evaluate": {"sets": [{"name": "aime", "file": "aime.jsonl"}]}},
    ],
}
TIMES = (
    "startedAt", "finishedAt", "claimedAt", "stepSeenAt", "retryAt", "time",
    "lastTransitionTime", "activeSeconds",
)  # fmt: skip
WATCHED = (RUN, JOB, POD)
FREE = 15.0
"""Seconds after which the Lease of a replica that is no more is free."""

_replica: ContextVar["Replica | None"] = ContextVar("replica", default=None)


@dataclass(frozen=True)
class Ending:
    """What a story leaves behind."""

    status: Object
    """Without times."""
    jobs: Counter[str]
    """How often a Job of each name was made."""
    stopped: frozenset[str]
    """Jobs that had not ended when an operator asked for their deletion."""
    artifacts: frozenset[str]
    objects: tuple[tuple[str, str], ...]
    """(kind, name) of all that is in the cluster besides Events, nodes and the Lease."""


class Replica:
    """One operator, its way to the server, and its watches."""

    def __init__(self, world: "TroubledWorld", name: str) -> None:
        self.world = world
        self.name = name
        self.alive = True
        self.reachable = True
        """Whether its calls get through."""
        self.deaf = False
        """Whether its watches are silent: what happens now it never hears of."""
        self.deliver: Callable[[Event], Iterable[tuple[float, Event]]] = lambda e: ((0.0, e),)
        """What becomes of each event: how often it comes, and after how many seconds."""
        self._goes_on = asyncio.Event()
        self._goes_on.set()
        self._unheard: list[Event] = []
        self._missed: list[Event] = []
        cluster = world.cluster
        context = copy_context()
        context.run(_replica.set, self)
        self.operator = context.run(
            Operator,
            some_settings(),
            cluster,
            cluster,
            identity=name,
            lease_namespace="default",
            metrics=Metrics(),
            now=clock,
        )
        cluster.watchers.append(self._tell)
        loop = asyncio.get_running_loop()
        self._starting = loop.create_task(self.operator.start(), context=context)

    @property
    def leads(self) -> bool:
        """Whether it is alive, awake and may write."""
        return self.alive and not self.paused and self.operator.election.may_write()

    @property
    def paused(self) -> bool:
        """Whether it stands still."""
        return not self._goes_on.is_set()

    def kill(self) -> None:
        """kill -9. Its Lease stays as it is."""
        if not self.alive:
            return
        self.alive = False
        self.world.cluster.watchers.remove(self._tell)
        operator = self.operator
        operator.queue.close()
        for task in (self._starting, *operator._workers, *operator._others):
            task.cancel()
        self.world.burials.append(asyncio.ensure_future(self._bury()))

    async def stop(self) -> None:
        """SIGTERM."""
        await self._starting
        await self.operator.stop()
        self.alive = False
        self.world.cluster.watchers.remove(self._tell)

    def pause(self) -> None:
        """SIGSTOP: no call goes out, nothing is heard."""
        self._goes_on.clear()

    def go_on(self) -> None:
        """SIGCONT. What it wanted to send goes out; what its watches told meanwhile arrives."""
        self._goes_on.set()
        unheard, self._unheard = self._unheard, []
        for event in unheard:
            self._hear(event)

    def watch_anew(self) -> None:
        """Its watches begin anew after a gap: told is what there is, and nothing of deletions."""
        self.deaf = False
        self._missed.clear()
        for event in list(self.world.cluster.restart_watches()):
            if event.kind not in WATCHED:
                continue
            if self.operator.seen.was_streamed(event.kind, event.object):
                self.operator.relist.soon(event.kind)
            self._hear(event)

    def watch_on(self) -> None:
        """Its watches go on where they fell silent: told is all that was missed."""
        self.deaf = False
        missed, self._missed = self._missed, []
        for event in missed:
            self._hear(event)

    async def through(self, call: Call, side: Side) -> None:
        """On the way of one of its calls, to the server (before) or back (after)."""
        await self._goes_on.wait()
        if not self.alive:
            await asyncio.Event().wait()
        if not self.reachable:
            raise Unreachable("connection refused")
        error = self.world.fault(self, call, side)
        if error is not None:
            raise error
        # The fault may have been to kill or to pause it.
        await self._goes_on.wait()
        if not self.alive:
            await asyncio.Event().wait()

    def _tell(self, event: Event) -> None:
        if event.kind not in WATCHED:
            return
        if self.deaf:
            self._missed.append(event)
            return
        loop = asyncio.get_running_loop()
        for seconds, told in self.deliver(event):
            if seconds > 0:
                loop.call_later(seconds, self._hear, told)
            else:
                self._hear(told)

    def _hear(self, event: Event) -> None:
        """As `watching.py` does."""
        if not self.alive:
            return
        if self.paused:
            self._unheard.append(event)
            return
        self.operator.hear(event.kind, event.type, event.object)

    async def _bury(self) -> None:
        await asyncio.gather(self._starting, return_exceptions=True)
        await self.operator.progress.stop()
        await self.operator.probes.stop()


def _no_fault(replica: Replica, call: Call, side: Side) -> ClusterError | None:
    return None


@dataclass
class TroubledWorld(World):
    """A cluster, people, and replicas to which things happen."""

    replicas: list[Replica] = field(default_factory=list)
    burials: list["asyncio.Future[None]"] = field(default_factory=list)
    fault: Callable[[Replica, Call, Side], ClusterError | None] = _no_fault
    """What befalls a call of an operator: the error that it gets, or that the replica is killed or
    paused meanwhile."""
    server_is_up: bool = True
    made: Counter[str] = field(default_factory=Counter)
    """Jobs, as often as they were made."""
    stopped: set[str] = field(default_factory=set)
    """Jobs that had not ended when an operator asked for their deletion."""
    _changes: int = 0
    """Of all that the cluster or people could react to."""
    _rested_at: int = -1
    _suspended: bool = False
    _resumed: bool = False

    @classmethod
    def begin(cls, replicas: int = 1) -> "TroubledWorld":
        """A cluster with the run in it. Needs a running loop."""
        cluster, store = FakeCluster(clock), FakeStore()
        world = cls(cluster, Controllers(cluster, _script(store)), store, [])
        world.controllers.pod_ip = ""  # an answer from the network comes when it likes
        cluster.before = lambda call: world._hook(call, "before")
        cluster.after = lambda call: world._hook(call, "after")
        cluster.watchers.append(world._note)
        world.cluster.put(RUN, run_body("r", **SPEC))
        for _ in range(replicas):
            world.start()
        return world

    def start(self) -> Replica:
        """One more replica starts, from nothing."""
        self.replicas.append(Replica(self, f"replica-{len(self.replicas)}"))
        return self.replicas[-1]

    @property
    def living(self) -> list[Replica]:
        """Those that were not killed."""
        return [replica for replica in self.replicas if replica.alive]

    @property
    def leader(self) -> Replica | None:
        """Who leads now."""
        return next((replica for replica in self.living if replica.leads), None)

    def move(self) -> bool:
        """The cluster and the people do what is to be done; whether there was anything."""
        if not self.server_is_up or self._changes == self._rested_at:
            return False
        before = self._changes
        self.controllers.step()
        self._people()
        self._rested_at = before
        return self._changes != before

    async def live(self, holds: Callable[[], object], within: float = 7200.0) -> None:
        """Let time pass until something holds."""
        loop = asyncio.get_running_loop()
        end, pause = loop.time() + within, 0.05
        while not holds():
            assert loop.time() < end, f"it did not happen: {self.told()}"
            pause = 0.05 if self.move() else min(2 * pause, 2.0)
            await asyncio.sleep(pause)

    async def live_for(self, seconds: float) -> None:
        """Let so much time pass."""
        end = asyncio.get_running_loop().time() + seconds
        await self.live(lambda: asyncio.get_running_loop().time() >= end, seconds + 10)

    def is_over(self) -> bool:
        """Whether the run is complete and its Jobs are removed."""
        done = is_true(self.status(), "Complete")
        return done and not self.cluster.all(JOB) and not self.cluster.all(POD)

    def pods(self) -> set[str]:
        """uids of all Pods."""
        return {pod["metadata"]["uid"] for pod in self.cluster.all(POD)}

    async def ending(self) -> Ending:
        """What is left once the story is over and some lists have been made since."""
        await self.live(self.is_over)
        await self.live_for(400)
        await self.end()
        kinds = (RUN, JOB, POD, SERVICE, NETWORK_POLICY)
        return Ending(
            status=timeless(self.cluster.one(RUN, "default", "r")["status"]),
            jobs=self.made,
            stopped=frozenset(self.stopped),
            artifacts=frozenset(self.store.artifacts),
            objects=tuple(
                (kind.kind, body["metadata"]["name"])
                for kind in kinds
                for body in self.cluster.all(kind)
            ),
        )

    async def end(self) -> None:
        """Everybody goes."""
        for replica in self.living:
            replica.kill()
        await asyncio.gather(*self.burials)

    async def _hook(self, call: Call, side: Side) -> None:
        replica = _replica.get()
        if replica is None:
            return
        if not self.server_is_up:
            raise Unreachable("connection refused")
        await replica.through(call, side)
        if side == "before" and (call.verb, call.kind) == ("delete", JOB):
            self.stopped |= {call.name} & self._going_on()

    def _going_on(self) -> set[str]:
        """Names of Jobs that have not ended."""
        return {
            job["metadata"]["name"]
            for job in self.cluster.all(JOB)
            if not condition(job.get("status", {}), "Complete")
            and not condition(job.get("status", {}), "Failed")
        }

    def _note(self, event: Event) -> None:
        self._changes += event.kind not in (LEASE, EVENT)
        if (event.type, event.kind) == ("ADDED", JOB):
            self.made[event.object["metadata"]["name"]] += 1

    def _people(self) -> None:
        """Somebody suspends the run once RL runs, and resumes it once it rests."""
        if not self._suspended:
            self._suspended = any(
                is_of(pod, "math", "train") and pod["status"]["phase"] == "Running"
                for pod in self.cluster.all(POD)
            )
            if self._suspended:
                self.edit(lambda run: run["spec"].update(suspend=True))
        elif not self._resumed and is_true(self.status(), "Suspended"):
            self._resumed = True
            self.edit(lambda run: run["spec"].update(suspend=False))


def is_of(pod: Object, stage: str, phase: str) -> bool:
    """Whether a pod is of a phase of a stage."""
    of = pod["metadata"]["labels"]
    return (of[labels.STAGE], of[labels.PHASE]) == (stage, phase)


def _script(store: FakeStore) -> Callable[[Object], End | None]:
    """What pods do: a matter of the attempt alone, so that time changes nothing."""

    def script(pod: Object) -> End | None:
        first = pod["metadata"]["labels"][labels.ATTEMPT] == "1"
        if first and is_of(pod, "sft", "train"):
            if index_of(pod) > 0:
                return None
            record = ResultRecord(exit_code=1, reason="Error", message="ValueError: no rows")
            return End(1, text_of(record))
        if first and is_of(pod, "math", "train"):
            return None  # until it is suspended
        return store.work(pod)

    return script


def timeless(data: Any) -> Any:
    """JSON without the fields that hold times."""
    if isinstance(data, dict):
        return {name: timeless(value) for name, value in data.items() if name not in TIMES}
    return [timeless(item) for item in data] if isinstance(data, list) else data


def named(call: Call) -> str:
    """A call for people."""
    return f"{call.verb} {call.kind.kind} {call.name}".strip()


def told_in_jumping_time(story: Callable[[], Awaitable[Any]]) -> Any:
    """What a story returns; the same whenever it is told, as far as nothing troubles it."""

    async def whole() -> Any:
        random.seed(4)
        return await story()

    return in_jumping_time(whole())


@dataclass(frozen=True)
class Moment:
    """One side of one call of the operator's."""

    number: int
    """Of the call, from 0."""
    call: str
    side: Side
    as_of: tuple[str, float]
    """resourceVersion of the last change, and the time: what a killed operator leaves behind."""


@cache
def undisturbed() -> tuple[Ending, tuple[Moment, ...]]:
    """The ending of the story without any trouble, and what the operator did until it was over, in
    order."""
    moments: list[Moment] = []

    async def story() -> Ending:
        world = TroubledWorld.begin()
        count = -1

        def note(replica: Replica, call: Call, side: Side) -> None:
            nonlocal count
            count += side == "before"
            as_of = (world.cluster.version, asyncio.get_running_loop().time())
            if not world.is_over():
                moments.append(Moment(count, named(call), side, as_of))

        world.fault = note
        return await world.ending()

    return told_in_jumping_time(story), tuple(moments)
