"""The operator is killed before and after every call that it makes: the end is the same.

A new replica starts from nothing, waits until the Lease of the dead one is free, and goes on. Renewals
of the Lease between the same two other calls are one moment; `ACEREASON_DEEP=1` kills at each of
them too, and draws ten times as many sequences of kills.
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


def moments() -> list[int]:
    """Numbers of the calls at which to kill."""
    numbers = range(len(undisturbed()[1]))
    if DEEP:
        return list(numbers)
    firsts = list[int]()
    for of_lease, group in groupby(numbers, lambda n: "Lease" in undisturbed()[1][n]):
        firsts += [next(group)] if of_lease else group
    return firsts


@pytest.mark.parametrize("side", get_args(Side))
@pytest.mark.parametrize("share", range(SHARES))
def test_killed_at_any_call_it_comes_to_the_same_end(share: int, side: Side) -> None:
    expected, calls = undisturbed()
    for number in moments()[share::SHARES]:
        ending, killed = ending_with_kills({number: side})
        assert killed == [calls[number]], "the story was another one before the kill"
        assert ending == expected, f"killed {side} {calls[number]} (call {number})"


@settings(max_examples=150 if DEEP else 15, deadline=None)
@given(
    kills=st.dictionaries(
        st.integers(0, 250), st.sampled_from(get_args(Side)), min_size=2, max_size=12
    )
)
def test_killed_again_and_again_it_comes_to_the_same_end(kills: dict[int, Side]) -> None:
    ending, _ = ending_with_kills(kills)
    assert ending == undisturbed()[0]
