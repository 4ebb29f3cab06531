"""An engine's share of a drawing: every request begins once, and no engine idles for nothing."""

from itertools import count

from acereason_trainer.rollout.share import CROWD, Capacity, Share
from hypothesis import given
from hypothesis import strategies as st

LONGEST = 64


def shares(requests: int, dealt: int, capacities: list[Capacity]) -> list[Share]:
    """Of all engines, which take from one queue."""
    take = count().__next__
    return [
        Share(requests, number, len(capacities), dealt, capacity, take)
        for number, capacity in enumerate(capacities)
    ]


@given(st.data())
def test_every_request_is_begun_once_in_whatever_order_responses_end(data: st.DataObject) -> None:
    capacities = [
        Capacity(data.draw(st.integers(1, 40)) * LONGEST, sequences=16, tokens_each=float(LONGEST))
        for _ in range(data.draw(st.integers(1, 4)))
    ]
    requests, dealt = data.draw(st.integers(0, 60)), data.draw(st.integers(1, 16))
    engines = shares(requests, dealt, capacities)
    begun = [n for share in engines for n in share.begin()]
    while any(share.under_way for share in engines):
        share = data.draw(st.sampled_from([s for s in engines if s.under_way]))
        ended = data.draw(st.sets(st.sampled_from(sorted(share.under_way)), min_size=1))
        begun += share.go_on({n: data.draw(st.integers(2, LONGEST)) for n in ended})
        assert len(share.under_way) <= 16
    assert sorted(begun) == list(range(requests))


def test_the_longest_are_dealt_in_turn_and_the_next_are_taken_in_order() -> None:
    first, second = shares(9, 2, [Capacity(LONGEST, 2, LONGEST), Capacity(LONGEST, 2, LONGEST)])
    assert (first.begin(), second.begin()) == ([0, 2], [1, 3])
    assert second.go_on({1: LONGEST}) == [4]
    assert first.go_on({0: LONGEST, 2: LONGEST}) == [5, 6]


def test_few_requests_are_shared_out_evenly_whatever_there_is_room_for() -> None:
    engines = shares(5, 16, [Capacity(40 * LONGEST, 16, LONGEST) for _ in range(2)])
    assert [share.begin() for share in engines] == [[0, 2, 4], [1, 3]]


def test_there_is_room_for_more_where_responses_are_shorter_than_was_known() -> None:
    capacity = Capacity(4 * LONGEST, sequences=256, tokens_each=LONGEST)
    assert capacity.at_once() == 4 * CROWD
    (share,) = shares(1000, capacity.at_once(), [capacity])
    share.begin()
    grown = []
    for _ in range(40):
        share.go_on({min(share.under_way): 8})
        grown.append(len(share.under_way))
    assert 2 * grown[0] < grown[-1] <= 8 * 4 * CROWD


def test_there_is_always_room_for_one_and_never_for_more_than_are_decoded_at_once() -> None:
    assert Capacity(1, sequences=16, tokens_each=LONGEST).at_once() == 1
    assert Capacity(10**6, sequences=16, tokens_each=LONGEST).at_once() == 16
