"""A reward for models that can do nothing: half of their responses are right.

Half of each group then has an advantage, as where a model learns. A module of its own, since
verifier workers import it.
"""

import zlib
from collections.abc import Mapping
from typing import Any


def by_chance(row: Mapping[str, Any], response: str) -> float:
    """1 for one response of two, by its text and the problem's."""
    return float(zlib.crc32(f"{row['problem']} {response}".encode()) % 2)
