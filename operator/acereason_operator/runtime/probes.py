"""/healthz, /readyz and /metrics over HTTP.

Liveness must not fail for what a restart cannot mend. So it fails in one case alone: our Lease is
renewed (the API server is there, and so are we), and yet a list has shown a change minutes ago that
a watch has not told of, which means that a watch is dead. An outage of the API server restarts
nobody.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from acereason_operator.runtime.metrics import Metrics

BLIND = 180.0
"""Seconds after which a change that no watch has told of means that the watch is dead: Kopf finds a
silent stream after 70 s and begins a new one."""


@dataclass(frozen=True)
class Health:
    """What the probes look at."""

    filled: Callable[[], bool]
    """Whether the cache was filled once."""
    reaches_server: Callable[[], bool]
    """Whether the Lease was read or written just now."""
    undelivered_for: Callable[[], float]
    """Age in seconds of the oldest change that a list has shown and no watch."""

    def alive(self) -> tuple[bool, str]:
        """Whether a restart would not help, and a sentence."""
        age = self.undelivered_for()
        if age > BLIND and self.reaches_server():
            return False, f"a change was listed {age:.0f} s ago and no watch has told of it"
        return True, "ok"

    def ready(self) -> tuple[bool, str]:
        """Whether the cache is filled, and a sentence."""
        if self.filled():
            return True, "ok"
        return False, "runs, Jobs and Pods are not listed yet"


class Probes:
    """The HTTP server."""

    def __init__(self, health: Health, metrics: Metrics, refresh: Callable[[], None]) -> None:
        """refresh: called before a scrape, to set what is measured by looking."""
        self._health = health
        self._metrics = metrics
        self._refresh = refresh
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Serve; `self.port` is the port that was given for 0. Raises OSError."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._serve_metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host or None, port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Serve no more."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return _answer(*self._health.alive())

    async def _readyz(self, _: web.Request) -> web.Response:
        return _answer(*self._health.ready())

    async def _serve_metrics(self, _: web.Request) -> web.Response:
        self._refresh()
        # Thousands of histogram lines take a while to write: not in the loop that reconciles.
        body = await asyncio.to_thread(generate_latest, self._metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _answer(well: bool, sentence: str) -> web.Response:
    return web.Response(status=200 if well else 503, text=f"{sentence}\n")
