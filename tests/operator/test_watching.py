"""Kopf in its thread: what ends it ends nothing else, and it ends without a word."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from typing import Any

import kopf
import pytest
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

    with caplog.at_level(logging.INFO):
        asyncio.run(story())
    assert caplog.records == []
