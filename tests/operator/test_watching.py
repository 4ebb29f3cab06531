"""Kopf in its thread: what ends it ends nothing else, and it ends without a word."""

import asyncio
import gc
import logging
import threading
from collections.abc import AsyncIterator
from itertools import islice
from typing import Any

import kopf
import pytest
from acereason_operator.cluster.protocol import JOB, POD, RUN, Kind
from acereason_operator.runtime import watching
from acereason_operator.runtime.watching import Watches
from aiohttp import web

from tests.waiting import wait_for


def hear(*_: object) -> None:
    """Nothing comes."""


async def nobody() -> kopf.ConnectionInfo:
    """Login to no server."""
    return kopf.ConnectionInfo(server="http://127.0.0.1:9")


@pytest.mark.slow
def test_watches_that_ended_begin_anew_and_can_be_stopped_at_any_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Here the server takes no credentials, which ends Kopf each time. 10 s: twice the 5 s that
    Kopf waits for its tasks."""
    monkeypatch.setattr(watching, "AGAIN", 0.05)
    logins = 0

    async def refused(_: web.Request) -> web.Response:
        return web.json_response({"kind": "Status", "code": 401}, status=401)

    async def story() -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", refused)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]

        async def login() -> kopf.ConnectionInfo:
            nonlocal logins
            logins += 1
            return kopf.ConnectionInfo(server=f"http://127.0.0.1:{port}", token="x")

        watches = Watches([], hear, login)
        watches.start()
        # Kopf itself logs in twice, and ends where the second time does not help either.
        await asyncio.to_thread(wait_for, lambda: logins >= 3, "another start of the watches")
        await watches.stop()
        assert not [t for t in threading.enumerate() if t.name == "watches"]
        await runner.cleanup()

    asyncio.run(story())


NAMESPACE = Kind("Namespace", "", "v1", "namespaces", namespaced=False)
"""Kopf begins nothing before it has found this one."""


class Discovery:
    """An API server that says which kinds it has, and whose lists are empty."""

    def __init__(self) -> None:
        self.kinds = [JOB, POD]
        self.asked: set[str] = set()
        """Plural names of what was listed or watched."""

    async def answer(self, request: web.Request) -> web.Response:
        parts = request.path.strip("/").split("/")
        versions = {kind.group: kind.version for kind in self.kinds}
        if parts == ["api"]:
            return web.json_response({"versions": ["v1"]})
        if parts == ["apis"]:
            groups = [
                {"name": g, "versions": [{"version": v}], "preferredVersion": {"version": v}}
                for g, v in versions.items()
                if g
            ]
            return web.json_response({"groups": groups})
        group, *rest = parts[1:] if parts[0] == "apis" else ["", *parts[1:]]
        if len(rest) == 1:
            return web.json_response({"resources": self._resources(group)})
        self.asked.add(rest[-1])
        if "watch" in request.query:
            await asyncio.sleep(60)  # until the client goes
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": []})

    def _resources(self, group: str) -> list[dict[str, Any]]:
        return [
            {"name": kind.plural, "kind": kind.kind, "singularName": kind.kind.lower(),
             "namespaced": True, "verbs": ["list", "watch"]}
            for kind in (*self.kinds, NAMESPACE)
            if kind.group == group
        ]  # fmt: skip


def test_runs_are_watched_once_their_crd_is_there(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A CRD that was removed and is put back ends Kopf's watches before it is served again."""
    monkeypatch.setattr(watching, "AGAIN", 0.05)
    server = Discovery()

    async def story() -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", server.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]

        async def login() -> kopf.ConnectionInfo:
            return kopf.ConnectionInfo(server=f"http://127.0.0.1:{port}", token="x")

        watches = Watches([], hear, login)
        watches.start()
        told = "begin anew: the API server does not have acereasonruns"
        await asyncio.to_thread(wait_for, lambda: told in caplog.text, "word of what is missing")
        server.kinds.append(RUN)
        await asyncio.to_thread(wait_for, lambda: RUN.plural in server.asked, "a watch of runs")
        await watches.stop()
        await runner.cleanup()

    asyncio.run(story())


def test_kopf_never_gives_up_and_does_not_count_how_often_it_may_try() -> None:
    waits = watching.watch_settings().networking.error_backoffs
    assert not hasattr(waits, "__len__"), "Kopf shows the size in each of its lines"
    for _ in range(2):
        tries = list(islice(waits, 10_000))
        assert (tries[0], tries[-1]) == (1, 20), "each request begins anew"
        assert tries == sorted(tries)


def test_a_cancellation_that_reaches_the_watches_does_not_end_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Kopf cancels every task of its loop that it does not know."""
    monkeypatch.setattr(watching, "AGAIN", 0.01)
    starts = 0

    async def operator(**given: Any) -> None:
        nonlocal starts
        starts += 1
        if starts == 1:
            raise asyncio.CancelledError
        await given["stop_flag"].wait()

    monkeypatch.setattr(kopf, "operator", operator)

    async def story() -> None:
        watches = Watches([], hear, nobody)
        watches.start()
        await asyncio.to_thread(wait_for, lambda: starts == 2, "another start of the watches")
        await watches.stop()

    asyncio.run(story())


def test_streams_that_kopf_leaves_open_end_without_a_word(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    left = []

    async def stream() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            raise RuntimeError("generator didn't stop after athrow()")

    async def operator(**given: Any) -> None:
        left.append(stream())
        await anext(left[0])
        await given["stop_flag"].wait()

    monkeypatch.setattr(kopf, "operator", operator)

    async def story() -> None:
        watches = Watches([], hear, nobody)
        watches.start()
        await asyncio.to_thread(wait_for, lambda: bool(left), "the start of Kopf")
        await watches.stop()
        assert not [t for t in threading.enumerate() if t.name == "watches"]

    gc.collect()  # or what earlier tests left may be told of in the thread that is looked at
    with caplog.at_level(logging.INFO):
        asyncio.run(story())
    assert [record for record in caplog.records if record.threadName == "watches"] == []
