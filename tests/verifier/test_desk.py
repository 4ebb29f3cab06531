"""The queue before the workers: bounded, in order, and never working for nobody."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from acereason_trainer.config.common import Verifier
from acereason_trainer.rewards.jobs import Job, MathJob, Setup
from acereason_trainer.rewards.protocol import Grade, Verdict
from acereason_trainer.verifier.desk import Desk, Full, Ticket, TooMany
from acereason_trainer.verifier.meters import Meters

from tests.operator.jumping_time import in_jumping_time
from tests.waiting import PATIENCE

SETUP = Setup("math", Verifier())


class Hands:
    """Graders that wait until they are told to go on."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.go_on = asyncio.Event()

    async def grade(self, setup: Setup, job: Job) -> Grade:
        assert isinstance(job, MathJob)
        self.begun.append(job.answer)
        await self.go_on.wait()
        return Grade(Verdict.CORRECT, 1.0, detail=job.answer)


Body = Callable[[Desk, Hands], Coroutine[Any, Any, None]]


def at_a_desk(
    *, capacity: int = 4, slots: int = 2
) -> Callable[[Body], Callable[[pytest.LogCaptureFixture], None]]:
    """The test gets a desk with `slots` hands behind it, in time that jumps."""

    def decorate(body: Body) -> Callable[[pytest.LogCaptureFixture], None]:
        def test(caplog: pytest.LogCaptureFixture) -> None:
            gc.collect()  # what others left
            caplog.clear()

            async def run() -> None:
                hands = Hands()
                meter = Meters().of_kind("math")
                await body(Desk(hands, capacity=capacity, slots=slots, meter=meter), hands)

            in_jumping_time(run())
            gc.collect()
            assert "destroyed" not in caplog.text

        test.__name__ = body.__name__
        return test

    return decorate


def take(desk: Desk, *answers: str, seconds: float = 60) -> Ticket:
    jobs = [(f"id-{a}", MathJob(a, "1")) for a in answers]
    return desk.take(SETUP, jobs, seconds)


async def answers(ticket: Ticket, number: int) -> dict[str, Verdict]:
    found = {}
    for _ in range(number):
        async with asyncio.timeout(PATIENCE):
            name, grade = await ticket.answers.get() or ("end", Grade(Verdict.WRONG, 0.0))
        found[name] = grade.verdict
    return found


@at_a_desk(slots=2)
async def test_as_many_are_begun_as_there_are_hands_in_their_order(desk: Desk, hands: Hands):
    ticket = take(desk, "a", "b", "c")
    await asyncio.sleep(0)
    assert (hands.begun, desk.waiting, desk.running) == (["a", "b"], 1, 2)
    hands.go_on.set()
    assert await answers(ticket, 3) == dict.fromkeys(["id-a", "id-b", "id-c"], Verdict.CORRECT)
    await desk.idle()
    assert (hands.begun, desk.waiting, desk.running) == (["a", "b", "c"], 0, 0)


@at_a_desk(capacity=3, slots=1)
async def test_what_does_not_fit_is_not_taken_in_part(desk: Desk, hands: Hands):
    take(desk, "a", "b", "c")
    await asyncio.sleep(0)
    with pytest.raises(Full, match="2 jobs wait already"):
        take(desk, "d", "e")
    assert desk.waiting == 2
    take(desk, "f")
    with pytest.raises(TooMany, match="4 jobs in one request; at most 3 fit"):
        take(desk, *"ghij")


@at_a_desk(capacity=2, slots=1)
async def test_what_nobody_waits_for_makes_room_and_is_never_begun(desk: Desk, hands: Hands):
    take(desk, "a")
    gone = take(desk, "b", "c")
    desk.withdraw(gone)
    ticket = take(desk, "d")
    hands.go_on.set()
    assert await answers(ticket, 1) == {"id-d": Verdict.CORRECT}
    await desk.idle()
    assert hands.begun == ["a", "d"]


@at_a_desk(slots=1)
async def test_only_what_was_handed_over_can_be_late(desk: Desk, hands: Hands):
    """And it keeps its worker until that is done with it, or more would be handed over."""
    late = take(desk, "a", "b", seconds=0.01)
    assert await answers(late, 1) == {"id-a": Verdict.INFRA_ERROR}
    assert (hands.begun, desk.waiting, desk.running) == (["a"], 1, 1)
    assert late.answers.empty()
    hands.go_on.set()
    assert await answers(late, 2) == {"id-a": Verdict.CORRECT, "id-b": Verdict.CORRECT}


@at_a_desk(capacity=6, slots=1)
async def test_a_full_queue_lets_no_deadline_pass(desk: Desk, hands: Hands):
    """3.6 s of one worker, with 2 s for a job."""
    ticket = take(desk, *"abcdef", seconds=2)
    found = {}
    for _ in range(6):
        await asyncio.sleep(0.6)
        hands.go_on.set()
        hands.go_on.clear()
        found |= await answers(ticket, 1)
    assert found == dict.fromkeys([f"id-{a}" for a in "abcdef"], Verdict.CORRECT)
    assert ticket.answers.empty()


@at_a_desk(slots=1)
async def test_abandoning_tells_everybody_that_no_more_comes(desk: Desk, hands: Hands):
    tickets = [take(desk, "a"), take(desk, "b")]
    await asyncio.sleep(0)
    desk.abandon()
    for ticket in tickets:
        assert await ticket.answers.get() is None
    await desk.idle()
    assert hands.begun == ["a"]


@at_a_desk(capacity=1000, slots=10)
async def test_when_to_ask_again_follows_from_the_measured_rate(desk: Desk, hands: Hands):
    with pytest.raises(Full) as unknowing:
        take(desk, *map(str, range(900)))
        take(desk, *map(str, range(900)))
    assert unknowing.value.retry_after == 60
    hands.go_on.set()
    await desk.idle()
    hands.go_on.clear()
    take(desk, *map(str, range(1000)))
    with pytest.raises(Full) as knowing:
        take(desk, "more", *map(str, range(100)))
    # 900 were done within a second: half of what waits will be in about one.
    assert knowing.value.retry_after == 1
