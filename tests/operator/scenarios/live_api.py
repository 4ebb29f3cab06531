"""An API server from a test's side: requests on kept connections, and watches that stay current.

Many scenarios wait at the same time, so nobody polls: a watch for each kind keeps what is there,
and whoever waits is woken by what it tells.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from acereason_operator.cluster.api_server import path_of
from acereason_operator.cluster.protocol import JOB, POD, RUN, Kind, Object

from tests.controlplane.control_plane import ControlPlane

STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
WATCHED = (RUN, JOB, POD)
Name = tuple[str, str]


class Refusal(Exception):
    """An answer other than 2xx."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


@dataclass
class LiveApi:
    """Requests as one account; and all runs, Jobs and Pods of the cluster as they are now."""

    control_plane: ControlPlane
    _session: aiohttp.ClientSession
    objects: dict[Kind, dict[Name, Object]] = field(
        default_factory=lambda: {kind: {} for kind in WATCHED}
    )
    listeners: list[Callable[[Kind, str, Object], None]] = field(default_factory=list)
    """Told of every event: kind, type, object."""
    with_kopf: list[str] = field(default_factory=list)
    """Every form of an object, ever, that had something of Kopf's on it."""
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def call(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> Any:
        """JSON answer. Raises Refusal."""
        async with self._session.request(
            method,
            f"{self.control_plane.url}{path}",
            data=None if body is None else json.dumps(body),
            headers={"Content-Type": content_type},
        ) as answer:
            content = await answer.json(content_type=None)
            if answer.status >= 300:
                raise Refusal(answer.status, str(content.get("message", content)))
            return content

    async def watch(self, kind: Kind) -> None:
        """Keep a kind's objects current. Cancel it to stop."""
        path = f"{path_of(kind, None)}?watch=true&timeoutSeconds=3600"
        async with self._session.get(
            f"{self.control_plane.url}{path}", timeout=aiohttp.ClientTimeout(total=None)
        ) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                await self._take(kind, line)
        raise AssertionError(f"the watch of {kind.plural} has ended")

    async def _take(self, kind: Kind, line: bytes) -> None:
        event = json.loads(line)
        body = event["object"]
        assert event["type"] in ("ADDED", "MODIFIED", "DELETED"), event
        if b"kopf" in line:
            self.with_kopf.append(line.decode())
        name = body["metadata"]["namespace"], body["metadata"]["name"]
        if event["type"] == "DELETED":
            self.objects[kind].pop(name, None)
        else:
            self.objects[kind][name] = body
        for tell in self.listeners:
            tell(kind, event["type"], body)
        async with self.changed:
            self.changed.notify_all()


@asynccontextmanager
async def live_api(
    control_plane: ControlPlane, token: str = "", kinds: Sequence[Kind] = WATCHED
) -> AsyncIterator[LiveApi]:
    """With watches of some kinds running. token: whose requests; empty: the administrator's."""
    tls = ssl.create_default_context(cafile=str(control_plane.ca_file))
    async with aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {token or control_plane.token}"},
        connector=aiohttp.TCPConnector(ssl=tls, limit=0),
        read_bufsize=2**22,
    ) as session:
        api = LiveApi(control_plane, session)
        watches = [asyncio.create_task(api.watch(kind)) for kind in kinds]
        try:
            yield api
        finally:
            for watch in watches:
                watch.cancel()
            ended = await asyncio.gather(*watches, return_exceptions=True)
        for end in ended:
            if not isinstance(end, asyncio.CancelledError):
                raise AssertionError("a watch of the test itself broke") from end
