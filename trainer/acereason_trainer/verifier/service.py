"""One process's queues, workers and uploaded tests, from its start to the end of its drain."""

import asyncio
import contextlib
from dataclasses import replace

from acereason_trainer.config.common import Verifier
from acereason_trainer.rewards.jobs import CodeJob, Job, Setup
from acereason_trainer.rewards.problem_tests import Test, pack
from acereason_trainer.rewards.wire import Request
from acereason_trainer.verifier.desk import AHEAD, Desk, Ticket
from acereason_trainer.verifier.meters import Meters
from acereason_trainer.verifier.pools import Pools
from acereason_trainer.verifier.settings import Settings
from acereason_trainer.verifier.test_sets import TestSets

_EMPTY = pack((Test("", ""),))
_NOTHING_TO_DO = CodeJob("", _EMPTY.digest, _EMPTY.content)


class Draining(Exception):
    """The service stops: it takes nothing more."""


class UnknownTests(Exception):
    """Jobs name tests that are not known (any more)."""

    def __init__(self, digests: list[str]) -> None:
        super().__init__(f"{len(digests)} of the named tests are not known here; upload them")
        self.digests = digests


class Service:
    """Belongs to one event loop."""

    def __init__(self, settings: Settings, meters: Meters) -> None:
        self.tests = TestSets(settings.tests_mib << 20)
        self._workers = {"math": settings.math_workers, "code": settings.code_workers}
        self._pools = {kind: Pools(workers) for kind, workers in self._workers.items()}
        self._desks = {
            kind: Desk(
                self._pools[kind],
                capacity=settings.queue,
                slots=AHEAD * workers,
                meter=meters.of_kind(kind),
            )
            for kind, workers in self._workers.items()
        }
        self._started = self._draining = False
        self._meters = meters
        self._watched_by(meters)

    @property
    def trouble(self) -> str | None:
        """Why it takes no work now, if so."""
        if self._draining:
            return "the service is stopping"
        return None if self._started else "the workers are starting"

    async def start(self) -> None:
        """Have workers ready for the default limits.

        Raises StageFailure where none can be started.
        """
        await asyncio.gather(
            self._pools["math"].open(Setup("math", Verifier())),
            self._pools["code"].open(Setup("code", Verifier())),
        )
        ran = await self._pools["code"].grade(Setup("code", Verifier()), _NOTHING_TO_DO)
        self._meters.missing_walls(ran.missing_walls)
        self._started = True

    def take(self, request: Request) -> Ticket:
        """Accept a request's jobs, all or none.

        Raises Draining, UnknownTests, pools.Crowded, desk.Full, desk.TooMany.
        """
        if self._draining:
            raise Draining
        jobs = [(item.id, self._with_tests(item.job())) for item in request.jobs]
        unknown = {
            job.digest.hex() for _, job in jobs if isinstance(job, CodeJob) and not job.tests
        }
        if unknown:
            raise UnknownTests(sorted(unknown))
        desk, setup = self._desks[request.kind], request.setup()
        self._pools[request.kind].require_room(setup, desk.setups)
        return desk.take(setup, jobs, request.deadline_seconds)

    def withdraw(self, ticket: Ticket) -> None:
        """Nobody waits for it any more."""
        self._desks[ticket.setup.kind].withdraw(ticket)

    async def drain(self, grace_seconds: float) -> bool:
        """Take nothing more and finish what was accepted; after the grace period drop what is left.

        Returns whether all was finished.
        """
        self._draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await asyncio.gather(*(desk.idle() for desk in self._desks.values()))
                return True
        for desk in self._desks.values():
            desk.abandon()
        return False

    async def close(self) -> None:
        """Kill all workers."""
        await asyncio.gather(*(pools.close() for pools in self._pools.values()))

    def _with_tests(self, job: Job) -> Job:
        return replace(job, tests=self.tests.get(job.digest)) if isinstance(job, CodeJob) else job

    def _watched_by(self, meters: Meters) -> None:
        meters.watch("tests_bytes", "Bytes of uploaded tests.", lambda: self.tests.size)
        waiting = "Jobs that wait for their turn."
        meters.watch_kinds("queue_jobs", waiting, self._desks, lambda desk: desk.waiting)
        running = "Jobs that were handed to workers."
        meters.watch_kinds("running_jobs", running, self._desks, lambda desk: desk.running)
        workers = "Worker processes for each set of limits."
        meters.watch_kinds("workers", workers, self._workers, lambda number: number)
        lost = "Workers that ended or were killed while they checked something, and were replaced."
        meters.count_kinds("workers_lost", lost, self._pools, lambda pools: pools.workers_lost)
