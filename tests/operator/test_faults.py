"""The server or the way to it fails: the end is the same, and nothing that runs is touched.

That a Job was deleted, or made twice, for such a failure would show in the ending: it counts the
Jobs that were made and names those that were stopped.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

import pytest
from acereason_operator.cluster.protocol import (
    EVENT,
    LEASE,
    AlreadyExists,
    ClusterError,
    Conflict,
    Throttled,
    Unreachable,
)
from fake_cluster import Call, Event
from troubles import (
    Ending,
    Replica,
    Side,
    TroubledWorld,
    is_of,
    named,
    told_in_jumping_time,
    undisturbed,
)

Trouble = Callable[[TroubledWorld, Replica], Awaitable[None]]
PATIENCE = 20.0
"""Seconds that a server asks for."""
ROUNDING = 1e-6


# The server is away, or the watches are


async def server_down(world: TroubledWorld, replica: Replica) -> None:
    """For a minute: longer than a Lease. The cluster stands still too."""
    world.server_is_up = False
    await world.live_for(60)
    world.server_is_up = True
    replica.watch_anew()


async def cut_off(world: TroubledWorld, replica: Replica) -> None:
    """The replica alone, for a minute, in which the cluster goes on: deletions are missed."""
    replica.reachable, replica.deaf = False, True
    await world.live_for(60)
    replica.reachable = True
    replica.watch_anew()


async def stale_watch(world: TroubledWorld, replica: Replica) -> None:
    """The watches fall silent and begin anew (410) after ten minutes; deletions are missed."""
    replica.deaf = True
    await world.live_for(600)
    replica.watch_anew()


async def silent_watch(world: TroubledWorld, replica: Replica) -> None:
    """The watches fall silent and go on where they were after five minutes."""
    replica.deaf = True
    await world.live_for(300)
    replica.watch_on()


async def no_watch(world: TroubledWorld, replica: Replica) -> None:
    """The watches fall silent for good; there are the lists."""
    replica.deaf = True


async def twice(world: TroubledWorld, replica: Replica) -> None:
    """Every event comes again, some time later."""
    replica.deliver = lambda event: ((0.0, event), (7.0, event))


async def in_any_order(world: TroubledWorld, replica: Replica) -> None:
    """Every event is late, each by a time of its own."""
    draw = random.Random(1)
    replica.deliver = lambda event: ((draw.uniform(0.0, 20.0), event),)


async def lost(world: TroubledWorld, replica: Replica) -> None:
    """A third of the events never comes."""
    draw = random.Random(2)

    def some(event: Event) -> Iterable[tuple[float, Event]]:
        return ((0.0, event),) if draw.random() > 1 / 3 else ()

    replica.deliver = some


TROUBLES: tuple[Trouble, ...] = (
    server_down, cut_off, stale_watch, silent_watch, no_watch, twice, in_any_order, lost,
)  # fmt: skip


@pytest.mark.parametrize("stage", ["prompts", "sft", "math", "eval"])
@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
def test_whatever_happens_on_the_way_the_end_is_the_same(trouble: Trouble, stage: str) -> None:
    """It begins when the first train Job of a stage was made."""

    async def story() -> Ending:
        world = TroubledWorld.begin()
        await world.live(lambda: any(f"-{stage}-1-train" in name for name in world.made))
        await trouble(world, world.replicas[0])
        return await world.ending()

    assert told_in_jumping_time(story) == undisturbed()[0]


@pytest.mark.parametrize("trouble", [server_down, cut_off, stale_watch], ids=lambda t: t.__name__)
def test_what_runs_goes_on_through_a_failure(trouble: Trouble) -> None:
    """The pod of a stage that trains for an hour is the same one before and after."""

    async def story() -> None:
        world = TroubledWorld.begin()
        script = world.controllers.script
        world.controllers.script = lambda pod: None if is_of(pod, "eval", "train") else script(pod)
        await world.live(lambda: world.stage("eval").state == "Running")
        before = world.pods()
        await trouble(world, world.replicas[0])
        await world.live_for(400)
        assert world.pods() == before
        assert world.stage("eval").state == "Running"
        assert world.stage("eval").attempts == 1
        await world.end()

    told_in_jumping_time(story)


# Answers that are no success


def _errors() -> dict[str, tuple[Side, Callable[[], ClusterError]]]:
    return {
        "409": ("before", lambda: Conflict("the object has been modified", 409)),
        "409 exists": ("before", lambda: AlreadyExists("it exists", 409)),
        "429": ("before", lambda: Throttled("too many requests", PATIENCE)),
        "429 without a time": ("before", lambda: Throttled("too many requests", None)),
        "500 before the effect": ("before", lambda: Unreachable("etcd is away", 500)),
        "500 after the effect": ("after", lambda: Unreachable("etcd is away", 500)),
    }


def failing(error: str) -> tuple[Callable[[Replica, Call, Side], ClusterError | None], set[str]]:
    """A fault that befalls the first two calls of each kind and every fourth or so after that; and
    the kinds of calls that it has befallen. A 409 befalls writes."""
    draw = random.Random(3)
    side, make = _errors()[error]
    calls: Counter[str] = Counter()
    befallen: set[str] = set()

    def fault(replica: Replica, call: Call, at: Side) -> ClusterError | None:
        kind = f"{call.verb} {call.kind.kind}"
        if at != side or (error.startswith("409") and not call.writes):
            return None
        if error == "409 exists" and call.verb != "create":
            return None
        calls[kind] += 1
        if calls[kind] > 2 and draw.random() > 1 / 4:
            return None
        befallen.add(kind)
        return make()

    return fault, befallen


@pytest.mark.parametrize("error", list(_errors()))
def test_calls_of_every_kind_that_fail_now_and_then_change_nothing_of_the_end(error: str) -> None:
    async def story() -> tuple[Ending, set[str]]:
        world = TroubledWorld.begin()
        world.fault, befallen = failing(error)
        return await world.ending(), befallen

    ending, befallen = told_in_jumping_time(story)
    assert ending == undisturbed()[0]
    kinds = {" ".join(moment.call.split()[:2]) for moment in undisturbed()[1]}
    writes = {kind for kind in kinds if not kind.startswith(("get", "list"))}
    wanted = {"409": writes, "409 exists": {kind for kind in kinds if kind.startswith("create")}}
    assert befallen >= wanted.get(error, kinds)


def test_a_server_that_asks_for_patience_is_not_asked_before_its_time() -> None:
    """Neither by a run that has news meanwhile, nor by lists, nor for the Lease. (An Event that
    was refused is not posted again, and what else the run needs does not wait for it.)"""

    async def story() -> list[str]:
        world = TroubledWorld.begin()
        throttled, _ = failing("429")
        not_before: dict[str, float] = {}
        hasty: list[str] = []

        def fault(replica: Replica, call: Call, side: Side) -> ClusterError | None:
            whose, now = _who_asks(call), asyncio.get_running_loop().time()
            if side == "before" and now < not_before.get(whose, 0.0) - ROUNDING:
                hasty.append(f"{named(call)} at {now:g} s, asked to wait until {not_before[whose]}")
            error = throttled(replica, call, side)
            if error is not None and call.kind != EVENT:
                not_before[whose] = now + PATIENCE
            return error

        world.fault = fault
        await world.live(world.is_over)
        await world.live_for(900)
        await world.end()
        return hasty

    assert told_in_jumping_time(story) == []


def _who_asks(call: Call) -> str:
    """Who has to wait for a call that was refused."""
    if call.kind == LEASE:
        return "the election"
    if call.verb == "list" and not call.namespace:
        return f"the lists of {call.kind.plural}"
    return "the run"
