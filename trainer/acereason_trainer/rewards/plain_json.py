"""JSON values as calls return them: numbers of any size, no nesting that breaks the reader.

The interpreter refuses to read integers above a few thousand digits, which right programs return
(and then compares them in quadratic time); as decimals they are read and compared in linear time.
"""

import json
from decimal import Decimal
from typing import Any

_LONGEST_INT = 4000


def loads(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError for what is none, or is nested too deeply."""
    try:
        return json.loads(text, parse_int=_integer)
    except RecursionError as e:
        raise ValueError("nested too deeply") from e


def is_text(text: str) -> bool:
    """Whether UTF-8, and so JSON, can hold a string: half a surrogate pair is no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _integer(digits: str) -> int | Decimal:
    return int(digits) if len(digits) <= _LONGEST_INT else Decimal(digits)
