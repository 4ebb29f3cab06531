"""The operator as one object: what it is made of, how it starts, and how it ends.

It works against any Cluster and is fed through `hear`, so a test runs it whole without a watch;
`main.py` adds the API server and Kopf.

Order of a start: probes, the first lists (the cache is filled), workers and election, watches.
Order of an end (SIGTERM, or a task of its own that died of a fault): no more work is handed out,
running reconciles finish, the Lease is given back, the watches end. What is killed instead loses
nothing: see `reconcile.py`.
"""

import asyncio
import logging
import posixpath
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

from acereason_operator.cluster.protocol import Cluster, ClusterError, Kind, Object
from acereason_operator.cluster.rendering import Rendering
from acereason_operator.cluster.views import run_of
from acereason_operator.planner.context import Context
from acereason_operator.planner.times import parse_duration
from acereason_operator.runtime.election import Election, Times
from acereason_operator.runtime.guarded import GuardedCluster
from acereason_operator.runtime.look import Look
from acereason_operator.runtime.metrics import Metrics
from acereason_operator.runtime.probes import Health, Probes
from acereason_operator.runtime.progress import ProgressReader
from acereason_operator.runtime.reconcile import Reconciler
from acereason_operator.runtime.relist import KINDS, Relist
from acereason_operator.runtime.run_series import SHOWN_AFTER_THE_END
from acereason_operator.runtime.seen import RunKey, Seen
from acereason_operator.runtime.settings import Settings, flag
from acereason_operator.runtime.token_bucket import TokenBucket
from acereason_operator.runtime.work_queue import WorkQueue
from acereason_operator.runtime.workers import work

_log = logging.getLogger(__name__)

FINISHING = 20.0
"""Seconds that running reconciles get at the end: less than a pod's grace period of 30 s."""
RETRY = 2.0
"""Seconds after first lists that failed."""


class Operator:
    """Everything but the watches."""

    def __init__(
        self,
        settings: Settings,
        cluster: Cluster,
        lease_cluster: Cluster,
        identity: str,
        lease_namespace: str,
        metrics: Metrics,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        times: Times = Times(),  # noqa: B008 frozen
    ) -> None:
        """lease_cluster: a client of its own for the Lease. identity: unique name of this replica.
        Needs a running event loop."""
        self.metrics = metrics
        self.seen = Seen(run_of, settings.namespace)
        self.queue: WorkQueue[RunKey] = WorkQueue(waited=metrics.queue_wait.observe)
        self.queue.rest()
        self.election = Election(
            lease_cluster, lease_namespace, settings.lease_name, identity, times
        )
        self.progress = ProgressReader(settings.progress_seconds, self.queue.add, metrics, now)
        self.relist = Relist(
            cluster,
            self.seen,
            settings.namespace,
            settings.relist_seconds,
            self.queue.add,
            metrics,
        )
        bucket = TokenBucket(settings.writes_per_second, settings.write_burst)
        guarded = GuardedCluster(cluster, self.election.may_write, bucket, metrics)
        self.reconciler = Reconciler(
            cluster=guarded,
            seen=self.seen,
            look=Look(
                guarded, self.seen, self.progress.last, self.progress.since, self.progress.unknown
            ),
            progress=self.progress,
            options=rendering(settings),
            context=context(settings),
            metrics=metrics,
            may_write_more=lambda: bucket.spares_one(_time()),
            now=now,
            instance=identity,
        )
        health = Health(
            filled=lambda: self.relist.filled,
            reaches_server=self.election.reaches_server,
            undelivered_for=lambda: self.seen.undelivered_for(_time()),
        )
        self.probes = Probes(health, metrics, self._refresh)
        self._settings = settings
        self._now = now
        self.failed = asyncio.Event()
        """Set when a task died of a fault: only a new process has all of them again."""
        self._heard: dict[Kind, float] = {}
        self._workers: list[asyncio.Task[None]] = []
        self._others: list[asyncio.Task[None]] = []
        metrics.show_runs(self.seen.states, lambda: self.seen.series(now() - SHOWN_AFTER_THE_END))

    def hear(self, kind: Kind, type_: str | None, whole: Object) -> None:
        """A watch tells of an event; its type is None where the object was listed as it began."""
        self._heard[kind] = _time()
        if type_ is None and self.seen.was_streamed(kind, whole):
            self.relist.soon(kind)
        if type_ == "DELETED":
            run = self.seen.take_deletion(kind, whole)
        else:
            run = self.seen.take(kind, whole, streamed=True)
        if run is not None:
            self.queue.add(run)

    async def start(self) -> None:
        """Start everything, the cache filled. Raises OSError where the probes' port is taken."""
        settings = self._settings
        try:
            await self.probes.start(settings.probe_host, settings.probe_port)
        except OSError as error:
            raise OSError(f"{flag('probe_host')}, {flag('probe_port')}: {error}") from error
        self._spawn("election", self.election.run())
        await self._fill()
        for kind in KINDS:
            self._heard[kind] = _time()
            self._spawn(f"relist of {kind.plural}", self.relist.forever(kind))
        self._spawn("leadership", self._take_turns())
        self._workers = [
            self._task(
                f"worker {i}",
                work(
                    self.queue,
                    self.reconciler.reconcile,
                    self.reconciler.tell_of_trouble,
                    self._now,
                    self.metrics,
                ),
            )
            for i in range(settings.workers)
        ]

    async def stop(self) -> None:
        """End gracefully: nothing new is begun, what runs is finished, the Lease is given back."""
        self.queue.close()
        if self._workers:
            _, unfinished = await asyncio.wait(self._workers, timeout=FINISHING)
            await _cancelled(unfinished)
        await self.progress.stop()
        await _cancelled(self._others)
        await self.election.release()
        await self.probes.stop()

    async def _fill(self) -> None:
        while True:
            try:
                await self.relist.all()
                return
            except ClusterError as error:
                _log.warning("runs, Jobs and Pods cannot be listed yet: %s", error)
                await asyncio.sleep(RETRY)

    async def _take_turns(self) -> None:
        """Work while this replica leads. What another leader wrote a moment ago is listed first, so
        that nothing is decided on what it has already changed."""
        while True:
            await self.election.leading.wait()
            self.metrics.transitions.inc()
            await self._fill()
            self.progress.go_on()
            self.queue.go_on()
            for run in self.seen.runs():
                self.queue.add(run)
            await self.election.following.wait()
            self.queue.rest()
            await self.progress.stop()

    def _refresh(self) -> None:
        metrics, now = self.metrics, _time()
        metrics.depth.set(len(self.queue))
        metrics.working.set(self.queue.working)
        metrics.retrying.set(self.queue.retrying)
        metrics.leader.set(self.election.may_write())
        metrics.undelivered.set(self.seen.undelivered_for(now))
        for kind, at in self._heard.items():
            metrics.watch_age.labels(kind.plural).set(now - at)
            metrics.cached.labels(kind.plural).set(self.seen.count(kind))
            metrics.cached_bytes.labels(kind.plural).set(self.seen.size(kind))

    def _spawn(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        self._others.append(self._task(name, coroutine))

    def _task(self, name: str, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(coroutine, name=name)
        task.add_done_callback(self._note_end)
        return task

    def _note_end(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled() or (fault := task.exception()) is None:
            return
        _log.error("a fault of the operator ended its %s", task.get_name(), exc_info=fault)
        self.failed.set()


def rendering(settings: Settings) -> Rendering:
    """What shows in the objects that are made."""
    return Rendering(
        trainer_image=settings.trainer_image,
        prepare_image=settings.prepare_image,
        image_pull_policy=settings.image_pull_policy,
        store=settings.store_mount,
        security=settings.pod_security,
        user=None if settings.pod_user < 0 else settings.pod_user,
        gpu_resource=settings.gpu_resource,
        metrics_port=settings.metrics_port,
        verifier_url=settings.verifier_url,
    )


def context(settings: Settings) -> Context:
    """What the planner is told of this cluster."""
    return Context(
        store=settings.store_mount,
        resolve=lambda path: posixpath.join(settings.store_mount, path),
        settling=parse_duration(settings.settling),
        first_backoff=parse_duration(settings.first_backoff),
        progress_every=timedelta(seconds=settings.progress_seconds),
    )


async def _cancelled(tasks: "list[asyncio.Task[None]] | set[asyncio.Task[None]]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _time() -> float:
    return asyncio.get_running_loop().time()
