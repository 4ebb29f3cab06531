"""What a code problem says about its own limits, in columns of its row.

`time_limit`: CPU seconds that a Python program may take for one test. `memory_limit`: MiB.
`tolerance`: the absolute or relative error that the statement allows.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOST_SECONDS = 600
MOST_MIB = 65536


class BadLimits(ValueError):
    """A row's limits cannot be used; the text says which and why."""


@dataclass(frozen=True)
class ProblemLimits:
    """None: as the stage's settings say."""

    seconds: float | None = None
    """CPU seconds for one test."""
    memory_mib: int | None = None
    """Memory of a program in MiB."""
    tolerance: float | None = None
    """Absolute or relative error that the problem allows."""


NO_LIMITS = ProblemLimits()
"""Of a problem that says nothing."""


def read_limits(row: Mapping[str, Any]) -> ProblemLimits:
    """The limits in a row. Raises BadLimits."""
    memory = _number(row, "memory_limit", MOST_MIB, "MiB")
    return ProblemLimits(
        seconds=_number(row, "time_limit", MOST_SECONDS, "seconds"),
        memory_mib=None if memory is None else math.ceil(memory),
        tolerance=_number(row, "tolerance", 1, "absolute or relative error"),
    )


def _number(row: Mapping[str, Any], column: str, most: float, unit: str) -> float | None:
    value = row.get(column)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise BadLimits(
            f'"{column}" is {value!r:.40}; it must be a number above 0 and up to {most} ({unit})'
        )
    return float(value)
