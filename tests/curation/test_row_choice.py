"""Which rows a stage takes: by ranges, weights and limits."""

from typing import Any

import pytest
from acereason_trainer.config.common import MixPart, Range
from acereason_trainer.dataset import Row
from acereason_trainer.row_choice import drawn_positions, matches, mixed
from hypothesis import given
from hypothesis import strategies as st


def row(**data: Any) -> Row:
    return Row(id=str(data.get("id", "r")), data={"problem": "p", **data})


RANGES = [
    (5, Range(column="n", min=5, max=5), True, "ends belong to a range"),
    (5, Range(column="n", max=4.9), False, "above the largest"),
    (5, Range(column="other", min=0), False, "a missing column matches nothing"),
    ("5", Range(column="n", min=0), False, "text is no number"),
    (True, Range(column="n", min=0), False, "a boolean is no number"),
    (float("nan"), Range(column="n", max=9), False, "NaN lies in no range"),
]


@pytest.mark.parametrize(("value", "where", "expected", "why"), RANGES, ids=[r[3] for r in RANGES])
def test_ranges(value: Any, where: Range, expected: bool, why: str) -> None:
    assert matches(row(n=value), [where]) is expected


def mix(*parts: tuple[float, float]) -> list[MixPart]:
    """(upper bound of column n, weight)"""
    return [MixPart(where=[Range(column="n", max=m)], weight=w) for m, w in parts]


def test_weights_say_how_often_a_row_is_drawn() -> None:
    rows = [row(id=i, n=n) for i, n in enumerate([1, 5, 9] * 1000)]
    counts = {1: 0, 5: 0, 9: 0}
    for drawn in mixed(rows, mix((1, 0.25), (5, 2.5)), "key"):
        counts[drawn.data["n"]] += 1
    assert counts[9] == 1000, "an unmatched row stays once"
    assert 200 < counts[1] < 300
    assert 2400 < counts[5] < 2600


def test_a_row_belongs_to_the_first_part_that_it_matches() -> None:
    assert mixed([row(n=1)], mix((3, 0), (5, 2)), "key") == []


@given(st.sets(st.integers(0, 50), min_size=1), st.integers(0, 50))
def test_what_happens_to_a_row_does_not_depend_on_the_others(ids: set[int], extra: int) -> None:
    rows = [row(id=i, n=1) for i in sorted(ids)]
    more = [row(id=i, n=1) for i in sorted(ids | {extra})]
    parts = mix((1, 0.5))
    kept = {r.id for r in mixed(rows, parts, "key")}
    kept_of_more = {r.id for r in mixed(more, parts, "key")}
    assert kept_of_more - {str(extra)} == kept - {str(extra)}


def test_a_limit_keeps_that_many_rows_chosen_by_name() -> None:
    ids = [f"p{i}" for i in range(100)]
    first = drawn_positions(ids, 10, "seed", 0)
    assert len(first) == 10
    assert first == drawn_positions(ids, 10, "seed", 0)
    assert first != drawn_positions(ids, 10, "seed", 1)
    assert first < drawn_positions(ids, 11, "seed", 0)
    assert drawn_positions(ids, 1000, "seed", 0) == set(range(100))
