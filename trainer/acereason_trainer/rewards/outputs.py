"""Whether what a program wrote, or what a call returned, is what was expected.

Two comparators. `exact` is ours: strict where a difference can matter, and silent about blanks and
the way a decimal is written. `lcb` follows LiveCodeBench's checker, for figures that can be
compared with published ones; it lets 1 pass for true and knows no tolerance.
"""

import re
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from acereason_trainer.rewards.plain_json import loads

Comparator = Literal["exact", "lcb"]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")


def same_output(actual: str, expected: str, tolerance: float | None = None) -> bool:
    """Equal lines without trailing blanks; else equal tokens, where spaces carry no meaning.

    Two tokens are also equal as decimals, exactly, when one of them is written with a point or an
    exponent (2.50 and 2.5; never 007 and 7), and then within `tolerance`, absolute or relative,
    where the problem allows one. Whole numbers have no tolerance.
    """
    got, want = _lines(actual), _lines(expected)
    if got == want:
        return True
    if any(not line or line != " ".join(line.split()) for line in want):
        return False
    left, right = actual.split(), expected.split()
    return len(left) == len(right) and all(
        _same_token(a, b, tolerance) for a, b in zip(left, right, strict=True)
    )


def same_value(actual: bytes, expected: str, tolerance: float | None = None) -> bool:
    """Compare the JSON that a call returned with the JSON of what was expected.

    By plain types: true is not 1, a list is not its text; an integer equals the float of the same
    number. Floats compare exactly but for `tolerance`, as in `same_output`.
    """
    try:
        return _same_plain(loads(actual), loads(expected), tolerance)
    except (ValueError, RecursionError):
        return False


def lcb_same_output(actual: str, expected: str) -> bool:
    """LiveCodeBench: as many lines, each equal without blanks at its ends or equal as decimals."""
    got = [line.strip() for line in actual.strip().split("\n")]
    want = [line.strip() for line in expected.strip().split("\n")]
    return len(got) == len(want) and all(map(_lcb_same_line, got, want))


def lcb_same_value(actual: bytes, expected: str) -> bool:
    """LiveCodeBench: equal as Python compares, so 1 is true.

    A tuple is a list at any depth, since it came as JSON: LiveCodeBench's present checker converts
    only the outermost one.
    """
    try:
        return bool(loads(actual) == loads(expected))
    except (ValueError, RecursionError):
        return False


def _lines(text: str) -> list[str]:
    lines = [line.rstrip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _same_token(left: str, right: str, tolerance: float | None) -> bool:
    if left == right:
        return True
    if not any(c in ".eE" for c in left + right):
        return False
    if not (_NUMBER.fullmatch(left) and _NUMBER.fullmatch(right)):
        return False
    return _close(Decimal(left), Decimal(right), tolerance)


def _close(actual: Decimal, expected: Decimal, tolerance: float | None) -> bool:
    if actual == expected:
        return True
    if tolerance is None:
        return False
    return abs(actual - expected) <= Decimal(repr(tolerance)) * max(Decimal(1), abs(expected))


def _same_plain(left: Any, right: Any, tolerance: float | None) -> bool:  # noqa: PLR0911 - a case each
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    numbers = int | float | Decimal
    if isinstance(left, numbers) and isinstance(right, numbers):
        if left == right:
            return True
        if tolerance is None or not (isinstance(left, float) or isinstance(right, float)):
            return False
        both = Decimal(left), Decimal(right)
        return all(n.is_finite() for n in both) and _close(*both, tolerance)
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(
            _same_plain(a, b, tolerance) for a, b in zip(left, right, strict=True)
        )
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(
            _same_plain(left[k], right[k], tolerance) for k in left
        )
    return bool(left == right)


def _lcb_same_line(left: str, right: str) -> bool:
    if left == right:
        return True
    try:
        numbers = [[Decimal(word) for word in line.split()] for line in (left, right)]
        return numbers[0] == numbers[1]
    except InvalidOperation:
        return False
