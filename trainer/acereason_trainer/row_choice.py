"""Which rows of a dataset a stage takes, and how often: by their columns, and by draws that go by a
row's own name."""

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from acereason_trainer.config.common import MixPart, Range
from acereason_trainer.dataset import Row
from acereason_trainer.seeds import draw_seed


def matches(row: Row, where: Sequence[Range]) -> bool:
    """Whether the row meets every condition; a missing or non-numeric column meets none."""
    return all(_in_range(row.data.get(r.column), r) for r in where)


def resampled(
    rows: Iterable[Row], mix: Sequence[MixPart], seed_name: str
) -> Iterator[tuple[Row, int]]:
    """Each row with its number of copies, by the weight of the first part of `mix` it matches.

    Weight w gives floor(w) copies, and one more with probability w - floor(w), drawn from the
    row's own name: the same rows and `seed_name` give the same result, whatever else is in the
    data. An unmatched row has weight 1.
    """
    seen: Counter[str] = Counter()
    for row in rows:
        seen[row.id] += 1
        weight = next((p.weight for p in mix if matches(row, p.where)), 1.0)
        whole = math.floor(weight)
        draw = draw_seed(seed_name, "mix", row.id, seen[row.id]) / 2**64
        yield row, whole + (draw < weight - whole)


def mixed(rows: Iterable[Row], mix: Sequence[MixPart], seed_name: str) -> list[Row]:
    """The rows with their copies (`resampled`) side by side, in order; copies share the id."""
    return [row for row, copies in resampled(rows, mix, seed_name) for _ in range(copies)]


def drawn_positions(ids: Iterable[str], limit: int, *name: str | int) -> set[int]:
    """Positions of at most `limit` rows, chosen by draws of this name and each row's id.

    Which rows are chosen changes little when a few rows are added or removed elsewhere.
    """
    draws = ((draw_seed(*name, id_), position) for position, id_ in enumerate(ids))
    return {position for _, position in heapq.nsmallest(limit, draws)}


def _in_range(value: Any, r: Range) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        return False
    return (r.min is None or value >= r.min) and (r.max is None or value <= r.max)
