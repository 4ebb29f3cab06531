"""LaTeX that the small parser does not read, by sympy's own parser.

It is a hundred times slower and computes some of what it reads while it reads, so text is looked at
before: nothing with a tower, a large power or factorial, or a long number goes in. Runs only in
workers.
"""

import re
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any

import sympy  # type: ignore[import-untyped]
from mpmath import mp  # type: ignore[import-untyped]
from sympy.parsing.latex import parse_latex  # type: ignore[import-untyped]

from acereason_trainer.rewards.latex import MAX_CHARACTERS, MAX_DEPTH, Node, TooLarge, Unreadable

_LETTERS = re.compile(r"\\[A-Za-z]+|[A-Za-z]+")
_TOO_LARGE = re.compile(
    r"\^\s*\{?[^{}^]*\^"  # a tower
    r"|\d{13,}"
    r"|\^\s*\{?\s*-?\s*\d{3,}"
    r"|\^\s*\{?\s*-?\s*\d{2,}.*\^\s*\{?\s*-?\s*\d{2,}"
    r"|(?:\^.*){7,}"
    r"|(?:\d{4,}|[)}!])\s*!"
    r"|binom[^a-z]*\d{4,}"
)
_TASKS = (
    sympy.Integral,
    sympy.Sum,
    sympy.Product,
    sympy.Limit,
    sympy.Derivative,
    sympy.conjugate,  # of real numbers, at which values are compared, nothing is seen of it
)
_REFUSED = (
    Exception  # its grammar's own errors, and whatever sympy's constructors raise on odd input
)


def symbols(text: str) -> set[str]:
    """Names of the unknowns. Raises Unreadable."""
    return {_name(symbol) for symbol in expression(text).free_symbols}


def is_unevaluated(text: str) -> bool:
    """Whether it is a task (an integral, a sum, a limit) and not its result."""
    return bool(expression(text).has(*_TASKS))


def same_form(answer: Node, reference: Node) -> bool:
    """Whether two tasks are written alike, but for the order of terms and factors: none is ever
    carried out."""
    if answer[0] != "latex" or reference[0] != "latex":
        return False
    return _form(expression(answer[1])) == _form(expression(reference[1]))


def _form(read: sympy.Basic) -> str:
    if not read.args:
        return str(sympy.srepr(read))
    parts = [_form(part) for part in _members(read)]
    if isinstance(read, sympy.Add | sympy.Mul):
        parts.sort()
    return f"{read.func.__name__}({', '.join(parts)})"


def _members(read: sympy.Basic) -> list[sympy.Basic]:
    """Arguments; a sum within a sum, or a product within a product, is not one of its own."""
    if not isinstance(read, sympy.Add | sympy.Mul):
        return list(read.args)
    kind = sympy.Add if isinstance(read, sympy.Add) else sympy.Mul
    return [m for part in read.args for m in (_members(part) if isinstance(part, kind) else [part])]


def value_of(text: str, point: Mapping[str, Fraction]) -> Any:
    """The value as an mpmath number. Raises Unreadable where it has none."""
    read = expression(text)
    at = {s: _rational(point[_name(s)]) for s in read.free_symbols}
    value = read.subs(at).evalf(mp.dps)
    if not value.is_number or not value.is_finite:
        raise Unreadable("no value")
    return mp.mpmathify(value)


@lru_cache(maxsize=64)
def expression(text: str) -> sympy.Expr:
    """What the text is; constants by name. Raises Unreadable, TooLarge."""
    if len(text) > MAX_CHARACTERS or _TOO_LARGE.search(text) or _depth(text) > MAX_DEPTH:
        raise TooLarge("too large to be an answer")
    try:
        read = parse_latex(text, strict=True)
    except _REFUSED as e:
        raise Unreadable(f"{text!r} is not read: {e}") from e
    if not isinstance(read, sympy.Expr):
        raise Unreadable(f"{text!r} is not an expression")
    return read.subs(
        {sympy.Symbol("e"): sympy.E, sympy.Symbol("i"): sympy.I, sympy.Symbol("pi"): sympy.pi}
    )


def _depth(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest


def _name(symbol: sympy.Symbol) -> str:
    return str(symbol.name).replace("{", "").replace("}", "").lstrip("\\")


def _rational(value: Fraction) -> sympy.Rational:
    return sympy.Rational(value.numerator, value.denominator)
