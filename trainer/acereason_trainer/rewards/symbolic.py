"""Equality of expressions that rational arithmetic does not decide, by sympy.

Not by simplification, which is slow, never certain, and may be asked to solve the problem itself:
two expressions are equal when they agree to 30 digits at several fixed points of mixed sign (or,
without variables, to 50 digits). Runs in a worker that is killed when it takes too long.
"""

import random
from fractions import Fraction
from typing import Any

import sympy  # type: ignore[import-untyped]

from acereason_trainer.rewards.latex import MAX_BITS, MAX_EXPONENT, Node, Unreadable, rational
from acereason_trainer.rewards.math import rounds_to

_POINTS = 8
_NEEDED = 3
_DIGITS = 30
_CONSTANT_DIGITS = 50

_FUNCTIONS: dict[str, Any] = {
    "add": sympy.Add,
    "subtract": lambda a, b: a - b,
    "multiply": sympy.Mul,
    "divide": lambda a, b: a / b,
    "negate": lambda a: -a,
    "factorial": sympy.factorial,
    "binomial": sympy.binomial,
    "abs": sympy.Abs,
    "arcsin": sympy.asin,
    "arccos": sympy.acos,
    "arctan": sympy.atan,
    "ln": sympy.log,
    "log": sympy.log,
    "floor": sympy.floor,
    "ceil": sympy.ceiling,
    "min": sympy.Min,
    "max": sympy.Max,
}
_CONSTANTS = {"pi": sympy.pi, "e": sympy.E, "i": sympy.I, "oo": sympy.oo}


def symbolically_same(answer: Node, reference: Node, places: int | None) -> bool:
    """`math.Same` for any trees. Raises Unreadable for what is beyond the bounds."""
    if answer == reference:
        return True
    if answer[0] == "proportional":
        return _proportional(expression(answer[1]), expression(reference[1]))
    left, right = expression(answer), expression(reference)
    if left == right:
        return True
    symbols = sorted(left.free_symbols | right.free_symbols, key=str)
    if not symbols:
        return _same_constant(left, right, places)
    agreed = [_close(a, b) for a, b in _values(left, right, symbols)]
    return len(agreed) >= _NEEDED and all(agreed)


def expression(tree: Node) -> sympy.Expr:
    """The sympy expression of a tree; rational parts are computed first, within their bounds."""
    exact = rational(tree)
    if exact is not None:
        return sympy.Rational(exact.numerator, exact.denominator)
    kind, *children = tree
    if kind == "symbol":
        return sympy.Symbol(children[0])
    if kind == "constant":
        return _CONSTANTS[children[0]]
    parts = [expression(child) for child in children]
    if kind == "power":
        return _power(parts[0], parts[1])
    function = _FUNCTIONS.get(kind) or getattr(sympy, kind)
    return function(*parts)


def _power(base: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr:
    if exponent.is_Rational and abs(exponent.p) > MAX_EXPONENT:
        raise Unreadable("an exponent too large to be an answer")
    if exponent.is_Rational and exponent.q > MAX_BITS:
        raise Unreadable("a root too deep to be an answer")
    return sympy.Pow(base, exponent)


def _same_constant(left: sympy.Expr, right: sympy.Expr, places: int | None) -> bool:
    a, b = left.evalf(_CONSTANT_DIGITS), right.evalf(_CONSTANT_DIGITS)
    if not (_finite(a) and _finite(b)):
        return bool(a == b) and not a.has(sympy.nan)
    if _distance(a, b) <= sympy.Float(10) ** (5 - _CONSTANT_DIGITS):
        return True
    if places is None or not (a.is_real and b.is_real):
        return False
    return rounds_to(Fraction(str(a)), Fraction(str(b)), places)


def _proportional(left: sympy.Expr, right: sympy.Expr) -> bool:
    """Whether left = c right with one constant c other than 0."""
    symbols = sorted(left.free_symbols | right.free_symbols, key=str)
    values = _values(left, right, symbols)
    tiny = sympy.Float(10) ** -20
    ratios = [a / b for a, b in values if abs(a) > tiny and abs(b) > tiny]
    return (
        len(ratios) == len(values)
        and len(ratios) >= min(_NEEDED, _POINTS if symbols else 1)
        and all(_close(r, ratios[0]) for r in ratios)
    )


def _values(
    left: sympy.Expr, right: sympy.Expr, symbols: list[sympy.Symbol]
) -> list[tuple[sympy.Expr, sympy.Expr]]:
    """Values of both at fixed points, where both are finite."""
    values = []
    for number in range(_POINTS):
        draw = random.Random(number)
        point = {
            s: sympy.Rational(draw.randint(11, 97) * draw.choice((1, -1)), draw.randint(7, 23))
            for s in symbols
        }
        a, b = left.subs(point).evalf(_DIGITS), right.subs(point).evalf(_DIGITS)
        if _finite(a) and _finite(b):
            values.append((a, b))
    return values


def _finite(value: sympy.Expr) -> bool:
    return bool(value.is_number and value.is_finite)


def _close(a: sympy.Expr, b: sympy.Expr) -> bool:
    return bool(_distance(a, b) <= sympy.Float(10) ** (10 - _DIGITS))


def _distance(a: sympy.Expr, b: sympy.Expr) -> sympy.Expr:
    """Relative above 1, absolute below."""
    return abs(a - b) / max(abs(a), abs(b), 1)
