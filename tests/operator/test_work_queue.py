"""The queue of runs: each once, each alone, later, and again after a failure."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import pytest
from acereason_operator.runtime.work_queue import Backoff, WorkQueue
from hypothesis import given, settings
from hypothesis import strategies as st
from jumping_time import in_jumping_time

STEADY = Backoff(first=1.0, longest=60.0, draw=lambda: 1.0)


def now() -> float:
    return asyncio.get_running_loop().time()


async def taken(queue: WorkQueue[str], within: float) -> list[str]:
    """Keys that are handed out within so many seconds, each done at once."""
    keys: list[str] = []
    try:
        async with asyncio.timeout(within):
            while (key := await queue.take()) is not None:
                keys.append(key)
                queue.done(key)
    except TimeoutError:
        pass
    return keys


def run(story: Coroutine[Any, Any, Any]) -> Any:
    return in_jumping_time(story)


def test_a_key_that_is_added_often_is_handed_out_once_and_in_order() -> None:
    async def story() -> list[str]:
        queue: WorkQueue[str] = WorkQueue()
        for key in "abacab":
            queue.add(key)
        assert len(queue) == 3
        return await taken(queue, 1)

    assert run(story()) == ["a", "b", "c"]


def test_a_key_is_never_with_two_workers_and_comes_again_if_it_was_added_meanwhile() -> None:
    async def story() -> None:
        queue: WorkQueue[str] = WorkQueue()
        queue.add("a")
        key = await queue.take()
        assert key == "a"
        queue.add("a")
        queue.add("a")
        assert await taken(queue, 1) == []
        queue.done("a")
        assert await taken(queue, 1) == ["a"]

    run(story())


def test_of_two_times_the_earlier_one_counts() -> None:
    async def story() -> None:
        queue: WorkQueue[str] = WorkQueue()
        queue.add_after("a", 50)
        queue.add_after("a", 10)
        queue.add_after("a", 30)
        assert await queue.take() == "a"
        assert now() == pytest.approx(10)
        queue.done("a")
        assert await taken(queue, 100) == [], "the later times are void"

    run(story())


def test_a_time_is_void_once_the_key_was_looked_at() -> None:
    async def story() -> None:
        queue: WorkQueue[str] = WorkQueue()
        queue.add_after("a", 10)
        queue.add("a")
        assert await taken(queue, 60) == ["a"]

    run(story())


def test_a_time_that_is_past_is_now() -> None:
    async def story() -> None:
        queue: WorkQueue[str] = WorkQueue()
        queue.add_after("a", -3)
        assert await queue.take() == "a"
        assert now() == 0

    run(story())


def test_the_wait_doubles_with_each_failure_in_a_row_up_to_a_limit_and_is_forgotten() -> None:
    async def story() -> list[float]:
        queue: WorkQueue[str] = WorkQueue(STEADY)
        queue.add("a")
        waits: list[float] = []
        for _ in range(9):
            before = now()
            assert await queue.take() == "a"
            waits.append(now() - before)
            queue.failed("a")
        assert queue.retrying == 1
        await queue.take()
        queue.done("a")
        assert queue.retrying == 0
        queue.add("a")
        await queue.take()
        queue.failed("a")
        before = now()
        await queue.take()
        assert now() - before == pytest.approx(1), "a success begins anew"
        return waits

    assert run(story()) == pytest.approx([0, 1, 2, 4, 8, 16, 32, 60, 60])


def test_a_failed_key_waits_as_long_as_the_server_asked_for() -> None:
    async def story() -> None:
        queue: WorkQueue[str] = WorkQueue(STEADY)
        queue.add("a")
        await queue.take()
        queue.failed("a", at_least=17)
        await queue.take()
        assert now() == pytest.approx(17)

    run(story())


def test_news_of_a_failed_key_end_its_wait() -> None:
    async def story() -> None:
        queue: WorkQueue[str] = WorkQueue(STEADY)
        queue.add("a")
        await queue.take()
        queue.add("a")
        queue.failed("a")
        await queue.take()
        assert now() == 0

    run(story())


def test_news_of_a_key_do_not_end_the_patience_that_a_server_asked_for() -> None:
    async def story() -> None:
        queue: WorkQueue[str] = WorkQueue(STEADY)
        queue.add("a")
        await queue.take()
        queue.add("a")
        queue.failed("a", at_least=17)
        await asyncio.sleep(5)
        queue.add("a")
        assert len(queue) == 0
        await queue.take()
        assert now() == pytest.approx(17)
        queue.add("a")
        queue.done("a")
        await queue.take()
        assert now() == pytest.approx(17), "after that it is a key like others"

    run(story())


@pytest.mark.parametrize("failures", [1, 2, 5, 40, 4000])
def test_jitter_takes_off_up_to_half(failures: int) -> None:
    least, most = Backoff(draw=lambda: 0.0), Backoff(draw=lambda: 1.0)
    assert least.after(failures) == most.after(failures) / 2
    assert most.after(failures) <= most.longest


def test_a_closed_queue_ends_its_workers_and_takes_nothing_more() -> None:
    async def story() -> list[str | None]:
        queue: WorkQueue[str] = WorkQueue()
        waiting = [asyncio.create_task(queue.take()) for _ in range(3)]
        await asyncio.sleep(0)
        queue.add_after("late", 5)
        queue.close()
        queue.add("a")
        queue.add_after("b", 1)
        queue.go_on()
        queue.add("c")
        return await asyncio.gather(*waiting)

    assert run(story()) == [None, None, None]


def test_the_end_of_leadership_does_not_keep_a_closed_queue_from_ending_its_workers() -> None:
    async def story() -> str | None:
        queue: WorkQueue[str] = WorkQueue()
        queue.add("a")
        key = await queue.take()
        queue.close()
        queue.rest()
        queue.done(key)
        async with asyncio.timeout(60):
            return await queue.take()

    assert run(story()) is None


def test_a_queue_at_rest_forgets_what_it_had_and_what_is_added() -> None:
    """Also what a worker still has: failed or asked for again, it does not come back."""

    async def story() -> list[str]:
        queue: WorkQueue[str] = WorkQueue(STEADY)
        for key in ("working", "again", "waiting"):
            queue.add(key)
        assert [await queue.take(), await queue.take()] == ["working", "again"]
        queue.add("again")
        queue.add_after("later", 5)
        queue.rest()
        queue.add("meanwhile")
        queue.add_after("meanwhile later", 5)
        queue.failed("working")
        queue.done("again")
        assert len(queue) == queue.working == queue.retrying == 0
        assert await taken(queue, within=100) == []
        queue.go_on()
        queue.add("working")
        return await taken(queue, within=100)

    assert run(story()) == ["working"]


def test_patience_that_a_server_asked_for_outlasts_a_rest() -> None:
    async def story() -> float:
        queue: WorkQueue[str] = WorkQueue(STEADY)
        queue.add("a")
        await queue.take()
        queue.rest()
        queue.failed("a", at_least=20)
        queue.go_on()
        queue.add("a")
        await queue.take()
        return now()

    assert run(story()) == pytest.approx(20)


def test_the_wait_for_a_worker_is_measured() -> None:
    waits: list[float] = []

    async def story() -> None:
        queue: WorkQueue[str] = WorkQueue(waited=waits.append)
        queue.add("a")
        await asyncio.sleep(3)
        await queue.take()

    run(story())
    assert waits == pytest.approx([3])


STEPS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from(["add", "later", "sleep"]),
        st.floats(0, 20, allow_nan=False),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(steps=STEPS, workers=st.integers(1, 4), lasting=st.floats(0, 5), fails=st.booleans())
def test_whatever_the_order_no_key_is_lost_or_worked_on_twice_at_a_time(
    steps: list[tuple[str, str, float]], workers: int, lasting: float, fails: bool
) -> None:
    working: Counter[str] = Counter()
    asked: dict[str, float] = {}
    begun: dict[str, float] = {}

    async def worker(queue: WorkQueue[str]) -> None:
        failed: set[str] = set()
        while (key := await queue.take()) is not None:
            working[key] += 1
            assert working[key] == 1, f"{key} is with two workers"
            begun[key] = now()
            await asyncio.sleep(lasting)
            working[key] -= 1
            if fails and key not in failed:
                failed.add(key)
                queue.failed(key)
            else:
                queue.done(key)

    async def story() -> None:
        queue: WorkQueue[str] = WorkQueue(STEADY)
        tasks = [asyncio.create_task(worker(queue)) for _ in range(workers)]
        for key, what, seconds in steps:
            if what == "sleep":
                await asyncio.sleep(seconds)
            elif what == "later":
                queue.add_after(key, seconds)
                asked[key] = now()
            else:
                queue.add(key)
                asked[key] = now()
        await asyncio.sleep(1000)
        assert len(queue) == queue.working == queue.retrying == 0
        for key, at in asked.items():
            assert begun[key] >= at, f"{key} was asked for and not looked at since"
        queue.close()
        await asyncio.gather(*tasks)

    run(story())
