"""The exact value of an expression that is rational arithmetic.

Exact, immediate and bounded: this decides most answers where they are submitted. Sizes are looked
at before anything is computed, because one power tower or factorial can take all the time and
memory that there is.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from acereason_trainer.rewards.latex import Node, TooLarge, Unreadable

MAX_BITS = 20_000
"""Largest numbers that are computed where an answer is submitted: enough for 2^{2024} and 2024!."""
MAX_ROOT = 64
"""Deepest root that is looked for among exact powers."""


def rational(node: Node, most_bits: int = MAX_BITS) -> Fraction | None:
    """The exact value of a tree of rational arithmetic, None where it is anything else.

    Raises Unreadable for a division by zero, TooLarge for a number beyond the bounds.
    """
    kind = node[0]
    if kind == "number":
        return Fraction(node[1])
    if kind not in _OPERATIONS and kind not in _GROWING:
        return None
    values = []
    for child in node[1:]:
        value = rational(child, most_bits)
        if value is None:
            return None
        values.append(value)
    bounds = (most_bits,) if kind in _GROWING else ()
    result = (_GROWING.get(kind) or _OPERATIONS[kind])(*values, *bounds)
    if result is not None and _bits(result) > most_bits:
        raise TooLarge("a number too large to be an answer")
    return result


def infinite(node: Node) -> int | None:
    """1 for plus infinity, -1 for minus infinity, None for anything else."""
    if node == ("constant", "oo"):
        return 1
    if node[0] == "negate":
        sign = infinite(node[1])
        return None if sign is None else -sign
    return None


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _divide(a: Fraction, b: Fraction) -> Fraction:
    if b == 0:
        raise Unreadable("division by zero")
    return a / b


def _power(base: Fraction, exponent: Fraction, most_bits: int) -> Fraction | None:
    if exponent.denominator != 1:
        root = _root(base, Fraction(exponent.denominator))
        return None if root is None else _power(root, Fraction(exponent.numerator), most_bits)
    if base == 0 and exponent < 0:
        raise Unreadable("division by zero")
    if base == 0 or abs(base) == 1:
        return base ** int(exponent % 2 or 2) if exponent else Fraction(1)
    # A number of b bits is at least 2^(b - 1); the result itself is looked at by the caller.
    if max(_bits(base) - 1, 1) * abs(exponent) > most_bits:
        raise TooLarge("a power too large to be an answer")
    return base ** int(exponent)


def _root(value: Fraction, degree: Fraction) -> Fraction | None:
    """The root that is rational: the real one, also of a negative number where it has one."""
    if degree.denominator != 1 or not 1 <= degree <= MAX_ROOT:
        return None
    n = int(degree)
    if value < 0:
        positive = _root(-value, degree) if n % 2 else None
        return None if positive is None else -positive
    top, bottom = _whole_root(value.numerator, n), _whole_root(value.denominator, n)
    return None if top is None or bottom is None else Fraction(top, bottom)


def _whole_root(value: int, n: int) -> int | None:
    if n == 2:
        root = math.isqrt(value)
        return root if root * root == value else None
    if value < 2:
        return value
    # Newton's method from above, a few steps from less than twice the root.
    root, lower = 0, 1 << -(-value.bit_length() // n)
    while root == 0 or lower < root:
        root = lower
        lower = ((n - 1) * root + value // root ** (n - 1)) // n
    return root if root**n == value else None


def _factorial(n: Fraction, most_bits: int) -> Fraction | None:
    if n.denominator != 1 or n < 0:
        return None
    if n > most_bits or math.lgamma(int(n) + 1) / math.log(2) > most_bits:
        raise TooLarge("a factorial too large to be an answer")
    return Fraction(math.factorial(int(n)))


def _binomial(n: Fraction, k: Fraction, most_bits: int) -> Fraction | None:
    if n.denominator != 1 or k.denominator != 1 or n < 0:
        return None
    if not 0 <= k <= n:
        return Fraction(0)
    if min(n, min(k, n - k) * _bits(n)) > most_bits:
        raise TooLarge("a binomial too large to be an answer")
    return Fraction(math.comb(int(n), int(k)))


def _of_integers(function: Callable[..., int]) -> Callable[..., Fraction | None]:
    def on_fractions(*values: Fraction) -> Fraction | None:
        if any(v.denominator != 1 for v in values):
            return None
        return Fraction(function(*map(int, values)))

    return on_fractions


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": _divide,
    "negate": lambda a: -a,
    "root": _root,
    "abs": abs,
    "floor": lambda a: Fraction(math.floor(a)),
    "ceil": lambda a: Fraction(math.ceil(a)),
    "min": min,
    "max": max,
    "gcd": _of_integers(math.gcd),
    "lcm": _of_integers(math.lcm),
}
_GROWING: dict[str, Callable[..., Fraction | None]] = {
    "power": _power,
    "factorial": _factorial,
    "binomial": _binomial,
}
"""What can be far larger than what it is computed from; takes the bound last."""
