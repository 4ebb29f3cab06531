"""Who leads, and who does not write."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from acereason_operator.cluster.protocol import LEASE, Unreachable
from acereason_operator.runtime.election import Election
from fake_cluster import Call, FakeCluster
from jumping_time import clock, in_jumping_time


def a_candidate(cluster: FakeCluster, name: str) -> Election:
    return Election(cluster, "default", "acereason-operator", name)


@asynccontextmanager
async def running(*elections: Election) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(election.run()) for election in elections]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def lease(cluster: FakeCluster) -> Any:
    return cluster.one(LEASE, "default", "acereason-operator")["spec"]


async def until(holds: Callable[[], bool], within: float = 60.0) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not holds():
        assert loop.time() < began + within, "it did not happen"
        await asyncio.sleep(0.1)
    return loop.time() - began


def away(call: Call) -> None:
    raise Unreachable("connection refused")


def test_of_two_candidates_one_leads_and_stays_the_leader() -> None:
    async def story() -> None:
        cluster = FakeCluster(clock)
        a, b = a_candidate(cluster, "a"), a_candidate(cluster, "b")
        async with running(a, b):
            await until(lambda: a.may_write() or b.may_write())
            leader, other = (a, b) if a.may_write() else (b, a)
            for _ in range(600):
                await asyncio.sleep(0.5)
                assert leader.may_write() and leader.leading.is_set()
                assert not other.may_write() and not other.leading.is_set()
        assert lease(cluster)["holderIdentity"] == leader.identity
        assert lease(cluster)["leaseTransitions"] == 0

    in_jumping_time(story())


def test_a_leader_that_is_killed_is_followed_within_15_seconds_and_a_bid() -> None:
    async def story() -> float:
        cluster = FakeCluster(clock)
        a, b = a_candidate(cluster, "a"), a_candidate(cluster, "b")
        async with AsyncExitStack() as stack:
            async with running(a):
                await until(a.may_write)
                await stack.enter_async_context(running(b))
                await asyncio.sleep(30)
                assert not b.may_write()
            took = await until(b.may_write)
            assert lease(cluster)["leaseTransitions"] == 1
            return took

    assert 12 < in_jumping_time(story()) < 18


def test_a_leader_that_ends_gracefully_is_followed_at_the_next_bid() -> None:
    async def story() -> float:
        cluster = FakeCluster(clock)
        a = a_candidate(cluster, "a")
        async with running(a):
            await until(a.may_write)
        b = a_candidate(cluster, "b")
        async with running(b):
            await asyncio.sleep(5)
            assert not b.may_write()
            await a.release()
            assert not a.may_write()
            return await until(b.may_write)

    assert in_jumping_time(story()) < 3


@pytest.mark.parametrize("heard", ["never", "as no answer"])
def test_a_lease_is_released_though_the_last_renewal_was_not_heard_of(heard: str) -> None:
    """It has taken effect: it was cut off by the end, or its connection broke before."""

    async def story() -> float:
        cluster = FakeCluster(clock)
        a, b = a_candidate(cluster, "a"), a_candidate(cluster, "b")
        renewing = asyncio.Event()

        async def slow(call: Call) -> None:
            if call.verb == "replace":
                renewing.set()
                if heard == "as no answer":
                    away(call)
                await asyncio.sleep(3600)

        async with running(a):
            await until(a.may_write)
            cluster.after = slow
            await renewing.wait()
        cluster.after = lambda call: None
        async with running(b):
            await asyncio.sleep(5)
            assert not b.may_write()
            await a.release()
            return await until(b.may_write)

    assert in_jumping_time(story()) < 3


def test_a_lease_that_somebody_else_holds_is_not_released() -> None:
    async def story() -> None:
        cluster = FakeCluster(clock)
        a = a_candidate(cluster, "a")
        async with running(a):
            await until(a.may_write)

        def taken(body: Any) -> None:
            body["spec"]["holderIdentity"] = "somebody"

        cluster.edit(LEASE, "default", "acereason-operator", taken)
        await a.release()
        assert lease(cluster)["holderIdentity"] == "somebody"

    in_jumping_time(story())


def test_a_leader_that_cannot_renew_stops_writing_before_anybody_else_can_begin() -> None:
    """At every moment at most one may write, though the old leader's renewals fail silently."""

    async def story() -> None:
        cluster = FakeCluster(clock)
        a, b = a_candidate(cluster, "a"), a_candidate(cluster, "b")
        async with running(a):
            await until(a.may_write)
            async with running(b):
                await asyncio.sleep(10)
                cluster.before = lambda call: away(call) if _bid_of(call, "a") else None
                loop = asyncio.get_running_loop()
                end = loop.time() + 60
                while loop.time() < end:
                    assert not (a.may_write() and b.may_write())
                    await asyncio.sleep(0.1)
                assert b.may_write()
                assert not a.leading.is_set()

    in_jumping_time(story())


def _bid_of(call: Call, name: str) -> bool:
    return bool(call.body and call.body["spec"]["holderIdentity"] == name)


@pytest.mark.parametrize("effect", ["before", "after"])
def test_an_outage_shorter_than_the_deadline_changes_nothing(effect: str) -> None:
    """Whether the failed renewal had its effect or not."""

    async def story() -> None:
        cluster = FakeCluster(clock)
        a = a_candidate(cluster, "a")
        async with running(a):
            await until(a.may_write)
            setattr(cluster, effect, away)
            await asyncio.sleep(6)
            setattr(cluster, effect, lambda call: None)
            for _ in range(100):
                await asyncio.sleep(0.1)
                assert a.may_write()
        assert lease(cluster)["leaseTransitions"] == 0

    in_jumping_time(story())


def test_a_renewal_that_hangs_does_not_keep_a_leader_writing() -> None:
    async def story() -> None:
        cluster = FakeCluster(clock)
        a = a_candidate(cluster, "a")

        async def hang(call: Call) -> None:
            await asyncio.sleep(3600)

        async with running(a):
            await until(a.may_write)
            cluster.before = hang
            await asyncio.sleep(10.1)
            assert not a.may_write()
            await until(a.following.is_set, within=3)

    in_jumping_time(story())


def test_a_lease_that_somebody_else_took_is_seen_at_the_next_renewal() -> None:
    async def story() -> None:
        cluster = FakeCluster(clock)
        a = a_candidate(cluster, "a")
        async with running(a):
            await until(a.may_write)

            def taken(body: Any) -> None:
                body["spec"]["holderIdentity"] = "somebody"

            cluster.edit(LEASE, "default", "acereason-operator", taken)
            await until(lambda: not a.may_write(), within=5)
            await asyncio.sleep(8)
            assert not a.leading.is_set()

    in_jumping_time(story())


def test_a_renewal_is_one_request() -> None:
    async def story() -> None:
        cluster = FakeCluster(clock)
        a = a_candidate(cluster, "a")
        async with running(a):
            await until(a.may_write)
            cluster.calls.clear()
            await asyncio.sleep(20)
        assert {call.verb for call in cluster.calls} == {"replace"}
        assert 8 <= len(cluster.calls) <= 11

    in_jumping_time(story())


def test_whether_the_server_is_reached_is_known_from_the_lease() -> None:
    async def story() -> None:
        cluster = FakeCluster(clock)
        a = a_candidate(cluster, "a")
        async with running(a):
            await until(a.reaches_server)
            cluster.before = away
            await until(lambda: not a.reaches_server(), within=13)

    in_jumping_time(story())
