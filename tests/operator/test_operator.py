"""The operator as a whole: how it starts, takes turns with others, and ends."""

import asyncio
import logging
from itertools import pairwise

import pytest
from acereason_operator.cluster.protocol import (
    LEASE,
    POD,
    RUN,
    ClusterError,
    NotFound,
    Refused,
    Throttled,
    Unreachable,
)
from acereason_operator.planner.status import is_true
from acereason_operator.runtime.probes import BLIND
from fake_cluster import Call
from jumping_time import in_jumping_time
from operators import FOUR_STAGES, a_world, an_operator
from rendering_builders import run_body


@pytest.mark.parametrize(
    ("verb", "kind", "task"),
    [("replace", LEASE, "election"), ("list", RUN, "relist of acereasonruns")],
    ids=["the Lease", "a list"],
)
def test_a_task_that_dies_of_a_fault_ends_the_operator(
    verb: str, kind: object, task: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Without it nobody would renew the Lease, or correct the watches, ever again."""

    async def story() -> None:
        async with a_world() as world:

            def odd_answer(call: Call) -> None:
                if (call.verb, call.kind) == (verb, kind) and not world.operator.failed.is_set():
                    raise KeyError("metadata")

            await asyncio.sleep(60)
            assert not world.operator.failed.is_set()
            world.cluster.before = odd_answer
            async with asyncio.timeout(600):
                await world.operator.failed.wait()

    with caplog.at_level(logging.ERROR):
        in_jumping_time(story())
    # Besides, asyncio may tell of what earlier tests left, whenever that is collected.
    (said,) = [r for r in caplog.records if r.name.startswith("acereason_operator")]
    assert said.getMessage() == f"a fault of the operator ended its {task}"
    assert said.exc_info is not None


def test_an_end_that_is_asked_for_is_no_fault() -> None:
    async def story() -> None:
        async with a_world() as world:
            operator = world.operators.pop()
            await operator.stop()
            assert not operator.failed.is_set()

    in_jumping_time(story())


@pytest.mark.parametrize("error", [Refused, NotFound])
def test_a_served_namespace_that_is_refused_holds_up_no_other_one(
    error: type[ClusterError], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither at a start nor later; once it may be read it is served too."""

    async def story() -> None:
        async with a_world(replicas=0) as world:
            world.cluster.namespaces.add("lost")
            refuses = True

            def hook(call: Call) -> None:
                if refuses and call.verb == "list" and call.namespace == "lost":
                    raise error("no role there", 403)

            world.cluster.before = hook
            world.operators.append(
                await an_operator(world.cluster, "a", namespace=["lost", "default"])
            )
            world.apply(stages=FOUR_STAGES[:1])
            await world.until(lambda: is_true(world.status(), "Complete"))
            assert world.operator.relist.filled
            world.cluster.watchers.clear()
            elsewhere = run_body("there", stages=FOUR_STAGES[:1])
            elsewhere["metadata"]["namespace"] = "lost"
            world.cluster.put(RUN, elsewhere)
            await asyncio.sleep(900)
            assert "status" not in world.cluster.one(RUN, "lost", "there")
            refuses = False
            await asyncio.sleep(900)
            assert world.cluster.one(RUN, "lost", "there")["status"]["stages"]

    in_jumping_time(story())
    assert "acereasonruns of namespace lost are left out: no role there" in caplog.text


def test_what_is_known_of_a_namespace_stands_while_it_is_refused() -> None:
    async def story() -> None:
        async with a_world(namespace=["default", "other"]) as world:
            world.cluster.namespaces.add("other")
            world.apply(stages=FOUR_STAGES[:1])
            await world.until(lambda: is_true(world.status(), "Complete"))

            def refuses(call: Call) -> None:
                if call.verb == "list" and call.namespace == "default":
                    raise Refused("no role there", 403)

            world.cluster.before = refuses
            await asyncio.sleep(900)
            assert world.operator.seen.run(("default", "r")) is not None

    in_jumping_time(story())


def test_an_operator_that_may_list_nothing_is_not_ready_and_tries_again() -> None:
    async def story() -> None:
        async with a_world(replicas=0) as world:
            refuses = True

            def hook(call: Call) -> None:
                if refuses and call.verb == "list":
                    raise Refused("no role at all", 403)

            world.cluster.before = hook
            starting = asyncio.create_task(
                an_operator(world.cluster, "a", namespace=["default", "other"])
            )
            await asyncio.sleep(60)
            assert not starting.done()
            refuses = False
            world.operators.append(await starting)
            assert world.operator.relist.filled

    in_jumping_time(story())


def test_a_replica_that_stands_by_has_no_queue_and_no_waits_to_tell_of_later() -> None:
    async def story() -> None:
        async with a_world(replicas=2) as world:
            for i in range(5):
                world.apply(f"r{i}", seed=i, stages=FOUR_STAGES[:1])
            await world.until(
                lambda: all(is_true(world.status(f"r{i}"), "Complete") for i in range(5))
            )
            await asyncio.sleep(3600)
            leader = next(o for o in world.operators if o.election.may_write())
            (standby,) = [o for o in world.operators if o is not leader]
            assert len(standby.queue) == 0
            await leader.stop()
            world.operators.remove(leader)
            await asyncio.sleep(60)
            waits = standby.metrics.registry.get_sample_value
            assert waits("acereason_workqueue_queue_duration_seconds_count") == 5
            longest = waits("acereason_workqueue_queue_duration_seconds_sum")
            assert longest is not None and longest < 1

    in_jumping_time(story())


def test_a_leader_that_loses_its_lease_keeps_no_queue() -> None:
    async def story() -> None:
        async with a_world() as world:
            world.apply()
            await world.until(lambda: world.stage("sft").state == "Running")

            def away(call: Call) -> None:
                raise Unreachable("no answer")

            world.cluster.before = away
            await world.operator.election.following.wait()
            await asyncio.sleep(60)
            world.operator.hear(RUN, "MODIFIED", world.cluster.one(RUN, "default", "r"))
            assert (len(world.operator.queue), world.operator.queue.retrying) == (0, 0)
            world.cluster.before = lambda call: None
            await world.until(lambda: is_true(world.status(), "Complete"))

    in_jumping_time(story())


@pytest.mark.parametrize("hears", [True, False], ids=["its watch lives", "its watch is dead"])
def test_what_was_listed_and_deleted_before_the_watch_began_is_no_dead_watch(hears: bool) -> None:
    """The watch never tells of it. A change that is still there is another matter."""

    async def story() -> float:
        async with a_world(replicas=0) as world:
            world.apply("short-lived")
            operator = await an_operator(world.cluster, "a", relist_seconds=1800)
            world.operators.append(operator)
            feeds = world.cluster.watchers.copy()
            world.cluster.watchers.clear()
            if hears:
                world.cluster.remove(RUN, "default", "short-lived")
                world.cluster.watchers += feeds
            oldest = 0.0
            for _ in range(60):
                await asyncio.sleep(10)
                now = asyncio.get_running_loop().time()
                oldest = max(oldest, operator.seen.undelivered_for(now))
            return oldest

    assert (in_jumping_time(story()) < BLIND) == hears


def test_nothing_is_listed_sooner_where_the_watches_tell_of_everything() -> None:
    async def story() -> int:
        async with a_world(relist_seconds=1800) as world:
            world.apply()
            await world.until(lambda: is_true(world.status(), "Complete"))
            world.cluster.calls.clear()
            await asyncio.sleep(1500)
            return sum(call.verb == "list" for call in world.cluster.calls)

    assert in_jumping_time(story()) == 0


def test_of_two_who_want_a_list_the_second_waits_for_what_the_server_asked_of_the_first() -> None:
    async def story() -> list[float]:
        async with a_world() as world:
            loop, asked = asyncio.get_running_loop(), list[float]()

            def throttles(call: Call) -> None:
                if (call.verb, call.kind) == ("list", POD):
                    asked.append(loop.time())
                    raise Throttled("too many requests", 20)

            world.cluster.before = throttles
            lists = (world.operator.relist.one(POD) for _ in range(2))
            await asyncio.gather(*lists, return_exceptions=True)
            return asked

    asked = in_jumping_time(story())
    assert len(asked) >= 2
    assert all(later >= earlier + 20 - 1e-6 for earlier, later in pairwise(asked))
