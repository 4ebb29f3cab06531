"""The cluster as reconciles use it: writes wait for their turn, and none goes out from a replica
that may no longer lead.

The check is made at the last moment before a write is sent, against the time of the last renewal
of the Lease that succeeded: a process that was paused with a stale plan finds out here. (What still
slips through is harmless: names are deterministic and status writes carry a resourceVersion.)
"""

from collections.abc import AsyncIterator, Callable, Mapping

from acereason_operator.cluster.protocol import Cluster, Kind, Listing, Object, Propagation
from acereason_operator.runtime.metrics import Metrics
from acereason_operator.runtime.token_bucket import TokenBucket


class NotLeading(Exception):
    """A write was held back: another replica may lead by now."""


class GuardedCluster:
    """A Cluster (the protocol) through which only a leader writes. Writes also raise NotLeading."""

    def __init__(
        self, cluster: Cluster, may_write: Callable[[], bool], bucket: TokenBucket, metrics: Metrics
    ) -> None:
        self._cluster = cluster
        self._may_write = may_write
        self._bucket = bucket
        self._metrics = metrics

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """See Cluster."""
        return await self._cluster.get(kind, namespace, name)

    async def list(
        self,
        kind: Kind,
        namespace: str | None,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> Listing:
        """See Cluster."""
        return await self._cluster.list(kind, namespace, labels, fields)

    def pages(
        self, kind: Kind, namespace: str | None, labels: Mapping[str, str] | None = None
    ) -> AsyncIterator[Listing]:
        """See Cluster."""
        return self._cluster.pages(kind, namespace, labels)

    async def create(self, kind: Kind, body: Object) -> Object:
        """See Cluster."""
        await self._turn()
        return await self._cluster.create(kind, body)

    async def apply(self, kind: Kind, body: Object) -> Object:
        """See Cluster."""
        await self._turn()
        return await self._cluster.apply(kind, body)

    async def replace(self, kind: Kind, body: Object) -> Object:
        """See Cluster."""
        await self._turn()
        return await self._cluster.replace(kind, body)

    async def write_status(self, run: Object, status: Object) -> Object:
        """See Cluster."""
        await self._turn()
        return await self._cluster.write_status(run, status)

    async def delete(
        self, kind: Kind, namespace: str, name: str, uid: str, propagation: Propagation
    ) -> None:
        """See Cluster."""
        await self._turn()
        await self._cluster.delete(kind, namespace, name, uid, propagation)

    async def _turn(self) -> None:
        with self._metrics.throttle_wait.time():
            await self._bucket.wait()
        if not self._may_write():
            raise NotLeading("the Lease was not renewed in time; another replica may lead")
