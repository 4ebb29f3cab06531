"""Worker processes of one kind, for every set of limits that is asked for.

A pool's workers are told their limits when they start, so requests with other limits get a pool of
their own. All trainers of a cluster mostly use the same ones: a few pools are kept, of more those
that were idle longest are closed, and beyond a number of busy ones none is begun.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Set
from concurrent.futures import Future
from dataclasses import dataclass, replace

from acereason_trainer.rewards.jobs import Job, Setup
from acereason_trainer.rewards.placement import backstop_seconds
from acereason_trainer.rewards.pool import WorkerPool
from acereason_trainer.rewards.protocol import Grade, Verdict
from acereason_trainer.stage import StageFailure

_log = logging.getLogger(__name__)

KEPT = 4
MOST = 8
"""Pools that are in use at once: each has all its worker processes."""
_RETRY_AFTER = 15


class Crowded(Exception):
    """As many sets of limits are in use as may be."""

    retry_after = _RETRY_AFTER
    """Whole seconds after which there may be room."""

    def __init__(self) -> None:
        super().__init__(
            f"{MOST} different sets of limits are in use; ask again in about {_RETRY_AFTER} s, or "
            "with limits that others use too"
        )


@dataclass(eq=False)
class _Pool:
    workers: WorkerPool
    opened: "asyncio.Task[None]"
    running: int = 0


class Pools:
    """Belongs to one event loop."""

    def __init__(self, workers: int) -> None:
        """`workers`: processes of each pool."""
        self._workers = workers
        self._pools: OrderedDict[Setup, _Pool] = OrderedDict()
        self._closing: set[asyncio.Future[None]] = set()
        self._lost_in_closed = 0

    async def open(self, setup: Setup) -> None:
        """Have workers for a setup. Raises StageFailure where none can be started."""
        await asyncio.shield(self._pool(setup).opened)

    def require_room(self, setup: Setup, accepted: Set[Setup]) -> None:
        """Raise Crowded where there would be too many pools, with those for `accepted` setups."""
        busy = {own for own, pool in self._pools.items() if pool.running}
        busy |= {self._own(other) for other in accepted}
        if self._own(setup) not in busy and len(busy) >= MOST:
            raise Crowded

    async def grade(self, setup: Setup, job: Job) -> Grade:
        """Have one job done; an infrastructure error where it cannot be."""
        pool = self._pool(setup)
        pool.running += 1
        try:
            await asyncio.shield(pool.opened)
            return await _answer(pool.workers.submit(job))
        except StageFailure as e:
            self._forget(pool)
            _log.error("%s", e)
            return Grade(Verdict.INFRA_ERROR, None, 0.0, str(e))
        finally:
            pool.running -= 1

    @property
    def workers_lost(self) -> int:
        """Workers that ended or were killed while they checked something."""
        return self._lost_in_closed + sum(p.workers.workers_lost for p in self._pools.values())

    async def close(self) -> None:
        """Kill all workers."""
        for pool in self._pools.values():
            self._close(pool)
        self._pools.clear()
        await asyncio.gather(*self._closing)

    def _own(self, setup: Setup) -> Setup:
        verifier = setup.verifier.model_copy(update={"workers": self._workers})
        return replace(setup, verifier=verifier)

    def _pool(self, setup: Setup) -> _Pool:
        mine = self._own(setup)
        if mine in self._pools:
            self._pools.move_to_end(mine)
            return self._pools[mine]
        workers = WorkerPool(mine, backstop_seconds(mine))
        pool = _Pool(workers, asyncio.ensure_future(asyncio.to_thread(workers.open)))
        self._close_idle()
        self._pools[mine] = pool
        return pool

    def _close_idle(self) -> None:
        idle = [setup for setup, pool in self._pools.items() if not pool.running]
        for setup in idle[: max(0, len(self._pools) - KEPT + 1)]:
            self._close(self._pools.pop(setup))

    def _forget(self, broken: _Pool) -> None:
        for setup, pool in list(self._pools.items()):
            if pool is broken:
                self._close(self._pools.pop(setup))

    def _close(self, pool: _Pool) -> None:
        async def close() -> None:
            await asyncio.wait([pool.opened])
            await asyncio.to_thread(pool.workers.close)
            self._lost_in_closed += pool.workers.workers_lost

        closing = asyncio.ensure_future(close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


async def _answer(graded: "Future[Grade]") -> Grade:
    """Wait for a worker. Unlike asyncio.wrap_future, to stop waiting cancels nothing there."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    graded.add_done_callback(lambda _: loop.call_soon_threadsafe(done.set))
    await done.wait()
    return graded.result()
