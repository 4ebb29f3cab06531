"""Lists that correct what the watches told: every few minutes, where a watch began anew, and where
one should have told of something.

A watch can be silently dead (a load balancer dropped it), and one that begins anew after a gap
tells of all that is there but not of what was deleted meanwhile. The first lists also fill the
cache, so that nothing waits for a watch.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from acereason_operator.cluster.labels import MANAGED
from acereason_operator.cluster.protocol import (
    JOB,
    POD,
    RUN,
    Cluster,
    ClusterError,
    Kind,
    NotFound,
    Refused,
)
from acereason_operator.runtime.metrics import Metrics
from acereason_operator.runtime.seen import RunKey, Seen

_log = logging.getLogger(__name__)

KINDS = (RUN, JOB, POD)
DEBOUNCE = 1.0
"""Seconds between the sign that a watch began anew and the list: such signs come in hundreds."""
RETRY = 5.0
"""Seconds after a list that failed."""
DOUBT = 90.0
"""Seconds for which a listed change may wait for its watch; then it is listed again, since the
object may have been deleted before the watch began. Less than liveness allows."""
CHECK = 15.0
"""Seconds between two looks for such a change."""


@dataclass
class Relist:
    """Lists all kinds into the cache."""

    cluster: Cluster
    seen: Seen
    namespaces: Sequence[str]
    """Empty: the whole cluster."""
    every: float
    """Seconds between two lists of a kind, give or take a tenth."""
    changed: Callable[[RunKey], None]
    """Called for each run for which something new was found."""
    metrics: Metrics
    filled: bool = False
    """Whether every kind was listed once."""
    _soon: dict[Kind, asyncio.Event] = field(
        default_factory=lambda: {kind: asyncio.Event() for kind in KINDS}
    )
    _turns: dict[Kind, asyncio.Lock] = field(
        default_factory=lambda: {kind: asyncio.Lock() for kind in KINDS}
    )
    """Who waits for a list that is under way also waits for what the server asks for then."""
    _not_before: dict[Kind, float] = field(default_factory=dict)
    """By the event loop's time: until when the server wants to be left alone with a list."""

    def soon(self, kind: Kind) -> None:
        """Have a kind listed now: its watch began anew."""
        self._soon[kind].set()

    async def all(self) -> None:
        """List every kind now. Runs come last: a run that is known has its children known. Raises
        ClusterError."""
        for kind in (POD, JOB, RUN):
            await self.one(kind)
        self.filled = True

    async def one(self, kind: Kind) -> None:
        """List a kind now, or once a server that asked for patience had it.

        A namespace that is refused (it was deleted, or our role in it was) is left out, and what is
        known of it stands: the others are served. Raises ClusterError where none can be listed.
        """
        async with self._turns[kind]:
            await self._one(kind)

    async def _one(self, kind: Kind) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._not_before.get(kind, 0.0) - loop.time())
        self._soon[kind].clear()
        try:
            scopes: Sequence[str | None] = self.namespaces or (None,)
            refusals: dict[str | None, ClusterError] = {}
            for namespace in scopes:
                try:
                    await self._list(kind, namespace)
                except (Refused, NotFound) as error:
                    refusals[namespace] = error
            if refusals.keys() >= set(scopes):
                raise refusals[scopes[0]]
            for namespace, refusal in refusals.items():
                _log.warning("%s of namespace %s are left out: %s", kind.plural, namespace, refusal)
        except ClusterError as error:
            self._not_before[kind] = loop.time() + (error.retry_after or 0.0)
            self.metrics.relists.labels(kind.plural, "error").inc()
            raise
        self.metrics.relists.labels(kind.plural, "error" if refusals else "done").inc()

    async def _list(self, kind: Kind, namespace: str | None) -> None:
        pages = self.cluster.pages(kind, namespace, None if kind == RUN else MANAGED)
        found = await self.seen.take_all(kind, namespace, pages)
        if self.filled:
            self.metrics.corrected.labels(kind.plural).inc(len(found))
        for run in found:
            self.changed(run)

    async def forever(self, kind: Kind) -> None:
        """Keep a kind right. Cancel it to stop."""
        pause = self._pause()
        while True:
            await self._until_due(kind, pause)
            try:
                await self.one(kind)
                pause = self._pause()
            except ClusterError as error:
                _log.warning("%s cannot be listed: %s", kind.plural, error)
                pause = RETRY

    async def _until_due(self, kind: Kind, pause: float) -> None:
        """Return when a kind has to be listed: after the pause, or before it for a reason."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        while (left := begin + pause - loop.time()) > 0:
            try:
                async with asyncio.timeout(min(left, CHECK)):
                    await self._soon[kind].wait()
                await asyncio.sleep(DEBOUNCE)
                return
            except TimeoutError:
                now = loop.time()
            if now - begin >= DOUBT and self.seen.undelivered_for(now, kind) >= DOUBT:
                return

    def _pause(self) -> float:
        return self.every * (0.9 + 0.2 * random.random())
