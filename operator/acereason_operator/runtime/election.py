"""Which replica leads: whoever holds the Lease, as client-go has it.

A holder renews every 2 s and leads until 10 s have passed since its last renewal that succeeded; a
candidate takes a Lease over that did not change for 15 s by the candidate's own clock (clocks of
other machines are never compared). The 5 s between the two are the margin in which nobody writes.
A replica that does not lead keeps its cache warm and writes nothing but its bid.
"""

import asyncio
import logging
import random
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from acereason_operator.cluster.protocol import (
    LEASE,
    AlreadyExists,
    Cluster,
    ClusterError,
    Conflict,
    Object,
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Times:
    """Seconds, as controller-runtime sets them."""

    lease: float = 15.0
    """A Lease that does not change for so long is free."""
    deadline: float = 10.0
    """A holder whose renewals fail for so long stops writing; less than `lease`."""
    retry: float = 2.0
    """Between two bids or renewals."""


@dataclass
class Election:
    """One replica's part in the election."""

    cluster: Cluster
    """A client of its own: nothing that floods the operator's may hold up a renewal."""
    namespace: str
    name: str
    identity: str
    times: Times = field(default_factory=Times)
    leading: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while this replica leads."""
    following: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while it does not."""
    _lease: Object | None = None
    """As it was when we last wrote it; None: it has to be read."""
    _renewed_at: float | None = None
    _answered_at: float | None = None
    _seen: tuple[object, ...] = ()
    _seen_at: float = 0.0

    def __post_init__(self) -> None:
        self.following.set()

    def may_write(self) -> bool:
        """Whether nobody else can lead yet. True for 10 s after each renewal was *sent*."""
        at = self._renewed_at
        return at is not None and _time() < at + self.times.deadline

    def reaches_server(self) -> bool:
        """Whether the API server answered about the Lease within the deadline."""
        at = self._answered_at
        return at is not None and _time() < at + self.times.deadline

    async def run(self) -> None:
        """Bid and renew for ever. Cancel it to stop."""
        while True:
            asked = await self._bid()
            self._show()
            jitter = 1.0 if self.may_write() else 1.0 + 0.2 * random.random()
            await asyncio.sleep(max(self.times.retry * jitter, asked))

    async def release(self) -> None:
        """Hand the Lease back, so that the next replica need not wait it out."""
        led, self._renewed_at = self._renewed_at is not None, None
        self._show()
        if not led:
            return
        try:
            async with asyncio.timeout(self.times.retry):
                # A renewal without an answer, or one that was cut off as we end, may have taken
                # effect: then the Lease is ours in a form that was never seen.
                with suppress(Conflict):
                    if self._lease is not None:
                        await self._give_back(self._lease)
                        return
                newest = await self.cluster.get(LEASE, self.namespace, self.name)
                if newest and newest["spec"].get("holderIdentity") == self.identity:
                    await self._give_back(newest)
        except (ClusterError, TimeoutError) as error:
            _log.info("the Lease was not released (%s); it runs out by itself", error)

    async def _give_back(self, lease: Object) -> None:
        spec = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
        await self.cluster.replace(LEASE, {**lease, "spec": spec})

    async def _bid(self) -> float:
        """Returns the seconds for which the server wants to be left alone."""
        sent, asked = _time(), 0.0
        try:
            # A request may hang for longer than a Lease lasts.
            async with asyncio.timeout(self.times.deadline / 2):
                held = await self._take()
            self._answered_at = sent
        except (Conflict, AlreadyExists):
            self._lease, held = None, False
        except (ClusterError, TimeoutError) as error:
            asked = (error.retry_after or 0.0) if isinstance(error, ClusterError) else 0.0
            # Whether it took effect is not known: what was known of the Lease is no longer sure.
            self._lease, held = None, False
            _log.warning(
                "the Lease %s/%s: %s", self.namespace, self.name, str(error) or "no answer"
            )
        if held:
            self._renewed_at = sent
            # The next bid may hang: that this one has run out shows without it.
            asyncio.get_running_loop().call_at(sent + self.times.deadline, self._show)
        return asked

    async def _take(self) -> bool:
        """Renew, or take what is free; whether we hold it now."""
        lease = self._lease or await self.cluster.get(LEASE, self.namespace, self.name)
        if lease is None:
            self._lease = await self.cluster.create(LEASE, self._new({}))
            return True
        spec = lease.get("spec") or {}
        if self._is_taken(spec):
            return False
        mine = {**lease, "spec": self._new(spec)["spec"]}
        self._lease = await self.cluster.replace(LEASE, mine)
        return True

    def _is_taken(self, spec: Object) -> bool:
        holder = spec.get("holderIdentity")
        seen = (holder, spec.get("renewTime"), spec.get("leaseTransitions"))
        if seen != self._seen:
            self._seen, self._seen_at = seen, _time()
        if not holder or holder == self.identity:
            return False
        self._renewed_at = None  # somebody else holds it, whatever our clock says
        lasts = float(spec.get("leaseDurationSeconds") or self.times.lease)
        return _time() < self._seen_at + lasts

    def _new(self, before: Object) -> Object:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        same = before.get("holderIdentity") == self.identity
        transitions = int(before.get("leaseTransitions") or 0)
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": int(self.times.lease),
                "acquireTime": before.get("acquireTime") if same else now,
                "renewTime": now,
                "leaseTransitions": transitions if same or not before else transitions + 1,
            },
        }

    def _show(self) -> None:
        leads = self.may_write()
        if leads == self.leading.is_set():
            return
        now, before = (self.leading, self.following) if leads else (self.following, self.leading)
        before.clear()
        now.set()
        _log.info("%s %s", self.identity, "leads" if leads else "does not lead any more")


def _time() -> float:
    return asyncio.get_running_loop().time()
