"""A reward that a model with random weights earns now and then, so that tests have a gradient."""

from collections.abc import Mapping
from typing import Any


def has_an_early_letter(row: Mapping[str, Any], response: str) -> float:
    """1 where one of the first eight characters is a to m."""
    return float(any("a" <= c <= "m" for c in response[:8]))


def has_what_the_row_wants(row: Mapping[str, Any], response: str) -> float:
    """The same, and the opposite for a row that wants none: learning the one unlearns the other."""
    return abs(has_an_early_letter(row, response) - float("wants_none" in row))
