"""A reward that a model with random weights earns now and then, so that tests have a gradient."""

from collections.abc import Mapping
from typing import Any


def has_an_early_letter(row: Mapping[str, Any], response: str) -> float:
    """1 where one of the first eight characters is a to m."""
    return float(any("a" <= c <= "m" for c in response[:8]))
