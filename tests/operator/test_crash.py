"""The operator is killed before and after every call that it makes: the end is the same.

A new replica starts from nothing, waits until the Lease of the dead one is free, and goes on.
`ACEREASON_DEEP=1` kills at every moment (here: at every one that differs, see `moments`) and draws
ten times as many sequences of kills.
"""

import asyncio
import os
from itertools import groupby
from typing import get_args

import pytest
from acereason_operator.cluster.protocol import ClusterError
from fake_cluster import Call
from hypothesis import given, settings
from hypothesis import strategies as st
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
SHARES = 8
"""Tests among which the moments of one kill are dealt out, so that workers share them."""
BACK_AFTER = 3.0
"""Seconds until a killed replica is started again."""


def ending_with_kills(kills: dict[int, Side]) -> tuple[Ending, list[str]]:
    """The ending where whoever makes the call of a number is killed before or after its effect;
    and those calls. Numbers go on through all replicas."""
    count, killed = -1, list[str]()

    def fault(replica: Replica, call: Call, side: Side) -> ClusterError | None:
        nonlocal count
        count += side == "before"
        if kills.get(count) == side and len(killed) < len(kills):
            killed.append(named(call))
            replica.kill()
        return None

    async def story() -> Ending:
        world = TroubledWorld.begin()
        world.fault = fault
        rising = asyncio.create_task(raise_the_dead(world))
        ending = await world.ending()
        rising.cancel()
        return ending

    return told_in_jumping_time(story), killed


async def raise_the_dead(world: TroubledWorld) -> None:
    """Start a replica whenever the last one was killed."""
    while True:
        await asyncio.sleep(BACK_AFTER)
        if not world.living:
            world.start()


def moments() -> list[Moment]:
    """When to kill. Of moments in which the server holds the same at the same time one is enough:
    a killed operator leaves nothing else behind. So are the first renewals of the Lease between
    the same two other calls."""
    every = undisturbed()[1]
    if DEEP:
        return list(every)
    distinct = {moment.as_of: moment for moment in reversed(every)}
    firsts = list[Moment]()
    for of_lease, group in groupby(
        sorted(distinct.values(), key=every.index), lambda moment: "Lease" in moment.call
    ):
        firsts += list(group)[: 2 if of_lease else None]
    return firsts


@pytest.mark.parametrize("share", range(SHARES))
def test_killed_before_or_after_any_call_it_comes_to_the_same_end(share: int) -> None:
    expected, _ = undisturbed()
    for moment in moments()[share::SHARES]:
        ending, killed = ending_with_kills({moment.number: moment.side})
        assert killed == [moment.call], "the story was another one before the kill"
        assert ending == expected, f"killed {moment.side} {moment.call} (call {moment.number})"


@settings(max_examples=150 if DEEP else 15, deadline=None)
@given(
    kills=st.dictionaries(
        st.integers(0, 250), st.sampled_from(get_args(Side)), min_size=2, max_size=12
    )
)
def test_killed_again_and_again_it_comes_to_the_same_end(kills: dict[int, Side]) -> None:
    ending, _ = ending_with_kills(kills)
    assert ending == undisturbed()[0]
