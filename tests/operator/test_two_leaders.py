"""A leader stands still between its decision and one of its calls; another one finishes the run and
removes its Jobs; then the first one wakes up and sends what it wanted to send.

Fencing keeps back all but the one call that was on its way. That one may make a Job of a run that
is long over: it is removed again, and the end is the same.
"""

import asyncio
import os
from collections import Counter
from dataclasses import replace
from itertools import cycle

import pytest
from acereason_operator.cluster.protocol import LEASE, ClusterError, Unreachable
from fake_cluster import Call
from troubles import (
    Ending,
    Moment,
    Replica,
    Side,
    TroubledWorld,
    named,
    told_in_jumping_time,
    undisturbed,
)

DEEP = bool(os.environ.get("ACEREASON_DEEP"))
SHARES = 4


def ending_with_a_pause(at: Moment) -> tuple[Ending, list[str], list[str]]:
    """The ending where the first leader is paused before or after the call of a number, and goes on
    when all is over; that call; and what it wrote after it went on."""
    count, paused, late = -1, list[str](), list[str]()

    def fault(replica: Replica, call: Call, side: Side) -> ClusterError | None:
        nonlocal count
        if replica.name != "replica-0":
            return None
        count += side == "before"
        if (count, side) == (at.number, at.side) and not paused:
            paused.append(named(call))
            replica.pause()
        elif paused and side == "before" and call.writes and "Lease" not in named(call):
            late.append(named(call))
        return None

    async def story() -> Ending:
        world = TroubledWorld.begin()
        world.fault = fault
        await world.live(lambda: paused)
        world.start()
        await world.live(world.is_over)
        world.replicas[0].go_on()
        return await world.ending()

    return told_in_jumping_time(story), paused, late


def moments() -> list[Moment]:
    """Before each call that may change something, after each that has."""
    every = [m for m in undisturbed()[1] if not m.call.startswith(("get", "list"))]
    if DEEP:
        return every
    quiet = ("Lease", "Event", "delete Job r-sft", "delete Job r-prompts", "delete Job r-math-2")
    return [m for m in every if m.side == "before" and not any(q in m.call for q in quiet)]


@pytest.mark.parametrize("share", range(SHARES))
def test_a_leader_that_wakes_up_when_all_is_over_changes_nothing_of_the_end(share: int) -> None:
    expected, _ = undisturbed()
    for moment in moments()[share::SHARES]:
        ending, paused, late = ending_with_a_pause(moment)
        where = f"paused {moment.side} {moment.call} (call {moment.number})"
        assert paused == [moment.call], "the story was another one before the pause"
        again = ending.jobs - expected.jobs
        on_its_way = moment.side == "before" and moment.call.startswith("create Job")
        made_late = Counter([moment.call.split()[-1]] if on_its_way else [])
        assert again == made_late, where
        assert late == [], f"{where}: it wrote on, though another one may lead"
        stopped = expected.stopped | set(made_late)
        assert expected == replace(ending, jobs=ending.jobs - again, stopped=expected.stopped)
        assert ending.stopped <= stopped, where


@pytest.mark.parametrize("stage", ["prompts", "sft", "math", "eval"])
def test_a_leader_that_cannot_renew_its_lease_writes_nothing_once_another_may(stage: str) -> None:
    """All its other calls go through, and there is work all the time: of its own accord it ends
    10 s after its last renewal."""
    writers: list[str] = []
    overdue: list[str] = []
    renewed: dict[str, float] = {}
    cut = [False]

    def fault(replica: Replica, call: Call, side: Side) -> ClusterError | None:
        now = asyncio.get_running_loop().time()
        if call.kind == LEASE:
            if cut[0] and replica.name == "replica-0":
                return Unreachable("connection refused")
            if call.writes and side == "before":
                renewed[replica.name] = now
        elif call.writes and side == "before":
            writers.append(replica.name)
            if now > renewed[replica.name] + 10:
                overdue.append(f"{replica.name}: {named(call)}")
        return None

    async def story() -> Ending:
        world = TroubledWorld.begin()
        world.fault = fault
        await world.live(lambda: any(f"-{stage}-1-train" in name for name in world.made))
        cut[0] = True
        world.start()
        busy = asyncio.create_task(_never_quiet(world))
        await world.live_for(60)
        busy.cancel()
        return await world.ending()

    ending, expected = told_in_jumping_time(story), undisturbed()[0]
    assert replace(ending, status=expected.status) == expected
    assert overdue == []
    change = writers.index("replica-1")
    assert set(writers[:change]) == {"replica-0"}
    assert set(writers[change:]) == {"replica-1"}


async def _never_quiet(world: TroubledWorld) -> None:
    """People edit what changes nothing, so that there is a status to write every second."""
    for minutes in cycle((2, 1)):
        await asyncio.sleep(1)
        world.edit(lambda run, ttl=f"{minutes}m": run["spec"].update(ttlAfterFinished=ttl))
