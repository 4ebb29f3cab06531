"""Everything that can trouble operators, in any order: the run comes to the one end it has.

Replicas are started, killed, paused, stopped and cut off, at any time and at any of their calls;
the server goes away, refuses, forgets to answer, and carries requests out that nobody waits for any
more; events are late, lost, doubled and out of order. At no time may two replicas write, and once
the troubles end the run does, as if nothing had been.

`ACEREASON_DEEP=1` runs 1,000 longer examples instead of 15 (about 30 minutes).
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar, get_args

import pytest
from acereason_operator.cluster.protocol import (
    JOB,
    LEASE,
    AlreadyExists,
    ClusterError,
    Conflict,
    Throttled,
    Unreachable,
)
from fake_cluster import Call, Event
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from jumping_time import JumpingLoop
from troubles import Replica, Side, TroubledWorld, undisturbed

DEEP = bool(os.environ.get("ACEREASON_DEEP"))
Result = TypeVar("Result")
Deliver = Callable[[Event], Iterable[tuple[float, Event]]]

SIDES = st.sampled_from(get_args(Side))
SOON = st.integers(1, 8)
"""How many calls from now."""
ERRORS: dict[str, Callable[[], ClusterError]] = {
    "409": lambda: Conflict("the object has been modified", 409),
    "429": lambda: Throttled("too many requests", 7.0),
    "500": lambda: Unreachable("etcd is away", 500),
    "no answer": lambda: Unreachable("connection reset"),
}
ENDING = undisturbed()[0]
"""Made here: inside a loop there can be no second one."""
MOST = 3
"""Replicas at a time."""


@dataclass
class Armed:
    """Something that will happen at a call."""

    calls: int
    """How many calls from now."""
    side: Side
    happens: Callable[[Replica, Call], ClusterError | None]


class Troubles(RuleBasedStateMachine):
    """The rules are the troubles."""

    def __init__(self) -> None:
        super().__init__()
        random.seed(4)
        self.runner = asyncio.Runner(loop_factory=JumpingLoop)
        self.world = self._do(self._begin())
        self.armed: list[Armed] = []
        self.may_be_made_late: set[str] = set()
        """Jobs whose creation was on its way when its sender stopped waiting for it."""

    def _do(self, what: Coroutine[Any, Any, Result]) -> Result:
        return self.runner.run(what)

    async def _begin(self) -> TroubledWorld:
        world = TroubledWorld.begin()
        world.fault = self._fault
        return world

    def _fault(self, replica: Replica, call: Call, side: Side) -> ClusterError | None:
        if side == "before":
            for armed in self.armed:
                armed.calls -= 1
        due = next((a for a in self.armed if a.calls <= 0 and a.side == side), None)
        if due is None:
            return None
        self.armed.remove(due)
        return due.happens(replica, call)

    def _some(self, data: st.DataObject) -> Replica:
        return data.draw(st.sampled_from(self.world.living))

    # Time, and what replicas do or have done to them

    @rule(seconds=st.sampled_from([0.1, 1.0, 10.0, 40.0, 200.0]))
    def time_passes(self, seconds: float) -> None:
        self._do(self.world.live_for(seconds))

    @precondition(lambda self: len(self.world.living) < MOST)
    @rule()
    def one_more_starts(self) -> None:
        self._do(self._start())

    async def _start(self) -> None:
        self.world.start()

    @precondition(lambda self: self.world.living)
    @rule(data=st.data())
    def one_is_killed(self, data: st.DataObject) -> None:
        self._do(self._kill(self._some(data)))

    async def _kill(self, replica: Replica) -> None:
        replica.kill()

    @rule(calls=SOON, side=SIDES)
    def one_will_be_killed_at_a_call(self, calls: int, side: Side) -> None:
        def kill(replica: Replica, call: Call) -> None:
            replica.kill()

        self.armed.append(Armed(calls, side, kill))

    @precondition(lambda self: self.world.living)
    @rule(data=st.data())
    def one_stands_still_or_goes_on(self, data: st.DataObject) -> None:
        replica = self._some(data)
        if replica.paused:
            self._do(self._go_on(replica))
        else:
            replica.pause()

    async def _go_on(self, replica: Replica) -> None:
        replica.go_on()

    @rule(calls=SOON, side=SIDES)
    def one_will_stand_still_at_a_call(self, calls: int, side: Side) -> None:
        def pause(replica: Replica, call: Call) -> None:
            self._is_on_its_way(call)
            replica.pause()

        self.armed.append(Armed(calls, side, pause))

    # The way to the server, and the server

    @precondition(lambda self: self.world.living)
    @rule(data=st.data(), reachable=st.booleans())
    def one_is_cut_off_or_not(self, data: st.DataObject, reachable: bool) -> None:
        self._some(data).reachable = reachable

    @rule(up=st.booleans())
    def the_server_goes_or_comes(self, up: bool) -> None:
        self.world.server_is_up = up

    @rule(calls=SOON, times=st.integers(1, 6), error=st.sampled_from(sorted(ERRORS)), side=SIDES)
    def calls_will_fail(self, calls: int, times: int, error: str, side: Side) -> None:
        def fail(replica: Replica, call: Call) -> ClusterError | None:
            if error == "409" and (side == "after" or not call.writes):
                return None
            if error == "409" and call.verb == "create":
                return AlreadyExists("it exists", 409)
            if error == "429" and side == "after":
                return None
            return ERRORS[error]()

        self.armed += [Armed(calls + i, side, fail) for i in range(times)]

    @rule(calls=SOON, seconds=st.sampled_from([1.0, 20.0, 90.0]))
    def a_request_will_arrive_late(self, calls: int, seconds: float) -> None:
        """Its sender gets no answer, and it takes effect all the same, some time after."""

        def lose(replica: Replica, call: Call) -> ClusterError | None:
            if call.kind == LEASE or call.verb not in ("create", "apply", "write_status"):
                return None
            self._is_on_its_way(call)
            asyncio.get_running_loop().call_later(seconds, self._arrives, call)
            return Unreachable("timed out")

        self.armed.append(Armed(calls, "before", lose))

    def _arrives(self, call: Call) -> None:
        try:
            self.world.cluster.arrive_late(call)
        except ClusterError:
            return  # there is nobody to tell

    def _is_on_its_way(self, call: Call) -> None:
        if (call.verb, call.kind) == ("create", JOB):
            self.may_be_made_late.add(call.name)

    # Watches

    @precondition(lambda self: self.world.living)
    @rule(data=st.data(), how=st.sampled_from(["deaf", "on", "anew"]))
    def watches_fall_silent_or_begin_again(self, data: st.DataObject, how: str) -> None:
        self._do(self._watch(self._some(data), how))

    async def _watch(self, replica: Replica, how: str) -> None:
        if how == "deaf":
            replica.deaf = True
        elif replica.deaf and how == "on":
            replica.watch_on()
        else:
            replica.watch_anew()

    @precondition(lambda self: self.world.living)
    @rule(data=st.data(), how=st.sampled_from(["as told", "twice", "late", "lost"]), seed=SOON)
    def events_are_told_otherwise(self, data: st.DataObject, how: str, seed: int) -> None:
        self._some(data).deliver = _delivery(how, random.Random(seed))

    # What holds

    @invariant()
    def at_most_one_may_write(self) -> None:
        async def writers() -> list[str]:
            living = self.world.living
            return [r.name for r in living if r.operator.election.may_write()]

        assert len(self._do(writers())) <= 1

    def teardown(self) -> None:
        """Once troubles end, the run does."""
        try:
            self._do(self._ends_well())
        finally:
            self.runner.close()

    async def _ends_well(self) -> None:
        self.armed.clear()
        self.world.server_is_up = True
        for healed in self.world.living:
            healed.reachable = True
            healed.deliver = _delivery("as told", random.Random())
            if healed.paused:
                healed.go_on()
            if healed.deaf:
                healed.watch_anew()
        if not self.world.living:
            self.world.start()
        ending, expected = await self.world.ending(), ENDING
        twice = set(ending.jobs - expected.jobs)
        assert twice <= self.may_be_made_late, f"made again: {twice - self.may_be_made_late}"
        stopped = ending.stopped - expected.stopped
        assert stopped <= twice, f"stopped for nothing: {stopped - twice}"
        once = Counter(set(ending.jobs))
        assert replace(ending, jobs=once, stopped=expected.stopped) == expected


def _delivery(how: str, draw: random.Random) -> Deliver:
    """What becomes of each event."""
    deliveries: dict[str, Deliver] = {
        "as told": lambda event: ((0.0, event),),
        "twice": lambda event: ((0.0, event), (draw.uniform(0.0, 20.0), event)),
        "late": lambda event: ((draw.uniform(0.0, 20.0), event),),
        "lost": lambda event: ((0.0, event),) if draw.random() > 0.5 else (),
    }
    return deliveries[how]


Troubles.TestCase.settings = settings(
    max_examples=1000 if DEEP else 15, stateful_step_count=60 if DEEP else 30, deadline=None
)


@pytest.mark.timeout(7200 if DEEP else 900)
class TestTroubles(Troubles.TestCase):
    """What pytest collects."""
