"""The API server from the benchmark's side: raw requests on kept connections, and watches.

As the administrator, and written to cost little: it shares two cores with what it measures.
"""

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import aiohttp
from acereason_operator.cluster.labels import MANAGED
from acereason_operator.cluster.protocol import Kind, Object

from tests.controlplane.control_plane import ControlPlane

MERGE = "application/merge-patch+json"
CONNECTIONS = 16
PAGE = 500


class Refusal(Exception):
    """An answer other than 2xx."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


@dataclass
class Cluster:
    """Requests, and watches of one kind each."""

    url: str
    requests: aiohttp.ClientSession
    watches: aiohttp.ClientSession

    async def call(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> Any:
        """JSON answer. Raises Refusal."""
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": content_type}
        async with self.requests.request(
            method, f"{self.url}{path}", data=data, headers=headers
        ) as answer:
            content = await answer.read()
            if answer.status >= 300:
                raise Refusal(answer.status, content.decode(errors="replace")[:500])
            return json.loads(content)

    async def everything(self, path: str, **query: str) -> list[Object]:
        """All objects of a list, fetched by pages."""
        found: list[Object] = []
        query["limit"] = str(PAGE)
        while True:
            page = await self.call("GET", f"{path}?{urlencode(query)}")
            found += page["items"]
            if not (more := page["metadata"].get("continue")):
                return found
            query["continue"] = more

    async def watch(self, kind: Kind, path: str) -> AsyncIterator[tuple[str, Object]]:
        """(type, object) of everything of ours, from now on. A watch that the server ends, as it
        does within the hour, goes on where it was."""
        selector = ",".join(f"{name}={value}" for name, value in MANAGED.items())
        query = {"watch": "true", "labelSelector": selector, "allowWatchBookmarks": "true"}
        while True:
            async with self.watches.get(f"{self.url}{path}?{urlencode(query)}") as answer:
                answer.raise_for_status()
                async for line in answer.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise Refusal(event["object"].get("code", 0), f"watch of {kind.plural}")
                    query["resourceVersion"] = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        yield event["type"], event["object"]


@asynccontextmanager
async def cluster_of(control_plane: ControlPlane) -> AsyncIterator[Cluster]:
    """The API server of a control plane."""
    tls = ssl.create_default_context(cafile=str(control_plane.ca_file))
    headers = {"Authorization": f"Bearer {control_plane.token}"}

    def session(connections: int, timeout: float | None) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(ssl=tls, limit=connections),
            timeout=aiohttp.ClientTimeout(total=timeout),
            read_bufsize=2**22,
        )

    async with session(CONNECTIONS, 120.0) as requests, session(0, None) as watches:
        yield Cluster(control_plane.url, requests, watches)
