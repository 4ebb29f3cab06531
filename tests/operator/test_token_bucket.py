"""How fast writes go out."""

import asyncio

import pytest
from acereason_operator.runtime.token_bucket import TokenBucket
from hypothesis import given
from hypothesis import strategies as st
from jumping_time import in_jumping_time


def test_a_burst_goes_out_at_once_and_what_follows_at_the_rate() -> None:
    async def story() -> list[float]:
        bucket, loop = TokenBucket(rate=2.0, burst=3), asyncio.get_running_loop()
        times = []
        for _ in range(6):
            await bucket.wait()
            times.append(loop.time())
        return times

    assert in_jumping_time(story()) == pytest.approx([0, 0, 0, 0.5, 1.0, 1.5])


def test_a_quiet_time_saves_up_a_burst_and_not_more() -> None:
    bucket = TokenBucket(rate=2.0, burst=3)
    for _ in range(3):
        bucket.take(0.0)
    assert [bucket.take(1000.0) for _ in range(4)] == pytest.approx([0, 0, 0, 0.5])


def test_who_comes_first_goes_first() -> None:
    async def story() -> list[int]:
        bucket, order = TokenBucket(rate=1.0, burst=1), []

        async def one(number: int) -> None:
            await bucket.wait()
            order.append(number)

        await asyncio.gather(*(one(number) for number in range(5)))
        return order

    assert in_jumping_time(story()) == [0, 1, 2, 3, 4]


def test_half_of_the_burst_is_no_spare() -> None:
    bucket = TokenBucket(rate=1.0, burst=4)
    for _ in range(3):
        bucket.take(0.0)
    assert not bucket.spares_one(0.9)
    assert bucket.spares_one(1.0)


def test_what_can_wait_goes_out_one_by_one_at_half_of_the_rate() -> None:
    bucket = TokenBucket(rate=10.0, burst=100)
    assert [bucket.spares_one(n / 20) for n in range(9)] == [
        True, False, False, False, True, False, False, False, True,
    ]  # fmt: skip


@given(
    pauses=st.lists(st.floats(0, 10), min_size=1, max_size=50),
    rate=st.floats(0.5, 100),
    burst=st.integers(1, 20),
)
def test_in_no_stretch_of_time_more_goes_out_than_a_burst_and_the_rate(
    pauses: list[float], rate: float, burst: int
) -> None:
    bucket, now, sent = TokenBucket(rate, burst), 0.0, []
    for pause in pauses:
        now += pause
        sent.append(now + bucket.take(now))
    for i, first in enumerate(sent):
        for j, last in enumerate(sent[i:], 1):
            assert j <= burst + (last - first) * rate + 1e-6
