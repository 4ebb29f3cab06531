"""Liveness and readiness: a restart is asked for only where it helps."""

import asyncio

import aiohttp
import pytest
from acereason_operator.runtime.metrics import Metrics
from acereason_operator.runtime.probes import BLIND, Health, Probes


@pytest.mark.parametrize(
    ("undelivered", "reached", "alive", "why"),
    [
        (0.0, True, True, "all is well"),
        (BLIND + 1, True, False, "the server is there, and a watch is dead"),
        (BLIND + 1, False, True, "an outage of the API server restarts nobody"),
        (BLIND - 1, True, True, "a watch may take a while to begin anew"),
        (0.0, False, True, "nothing is known to be wrong with us"),
    ],
)
def test_liveness(undelivered: float, reached: bool, alive: bool, why: str) -> None:
    health = Health(lambda: True, lambda: reached, lambda: undelivered)
    assert health.alive()[0] == alive, why


def test_the_three_paths_are_served() -> None:
    filled = False

    async def story() -> None:
        nonlocal filled
        metrics, refreshed = Metrics(), []
        health = Health(lambda: filled, lambda: True, lambda: 0.0)
        probes = Probes(health, metrics, lambda: refreshed.append(1))
        await probes.start("127.0.0.1", 0)
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{probes.port}") as session:
                assert (await session.get("/healthz")).status == 200
                unready = await session.get("/readyz")
                assert unready.status == 503
                assert "not listed yet" in await unready.text()
                filled = True
                assert (await session.get("/readyz")).status == 200
                page = await (await session.get("/metrics")).text()
        finally:
            await probes.stop()
        assert "acereason_workqueue_depth" in page
        assert refreshed == [1]

    asyncio.run(story())
