"""Equality of expressions that rational arithmetic does not decide, by their values.

Not by simplification, which is slow, never certain, and may be asked to solve the problem itself:
two expressions are equal when they agree at several fixed points of mixed sign and size, or,
without unknowns, once. Points where one is not real do not tell them apart. To agree is to be equal
to 100 digits of 120, and then, without unknowns, to 1200 of 2000, far beyond what 1 + e^{-1000} or
a long decimal for a root differ by. What is near zero both times is zero only if it is what
cancelling left, which shrinks with more digits, where a small number stays. Numbers too long for
that are compared exactly, and products of a length that nobody can write (10^{10^6}) by their
logarithms.
An odd root of a negative number is the real one, as in school.

What only the larger LaTeX parser can read is computed by sympy (sympy_latex.py). Runs in a worker
that is killed when it takes too long.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from functools import cache
from typing import Any

from mpmath import mp, mpc, mpf  # type: ignore[import-untyped]

from acereason_trainer.rewards import sympy_latex
from acereason_trainer.rewards.exact import Undecided, exactly_same
from acereason_trainer.rewards.latex import LEAVES, Node, TooLarge, nodes
from acereason_trainer.rewards.rational import rational

_DIGITS = 120
_EQUAL = mpf(10) ** -100
"""Relative difference of values that are looked at with more digits."""
_MORE_DIGITS = 2000
_MORE_DIGITS_AT_A_POINT = 240
"""A factorial of a fraction takes seconds with 2000 digits."""
_STAYS = mpf(10) ** -20
_MOST_BITS = 200_000
"""Of a number that is computed exactly here."""
_LONGEST_LOGARITHM = 10**30
_MAX_FACTORIAL = 5000
_ZERO = mpf(10) ** -90
_POINTS = 8
_NEEDED = 3
_MAX_MAGNITUDE = 20_000
"""Bits before the point of a value; e^(e^100) would have more than a memory."""

Value = Any
"""An mpf or mpc."""


class NoValue(Exception):
    """The expression has none there: a division by zero, a logarithm of zero."""


def symbolically_same(answer: Node, reference: Node, within: Fraction | None) -> bool:
    """`answer.Same` for any trees. Raises Unreadable for what is beyond the bounds."""
    if any(node[0] == "log" for tree in (answer, reference) for node in nodes(tree)):
        return any(
            _same(_to_base(base, answer), _to_base(base, reference), within)
            for base in ("ln", "lg")
        )
    return _same(answer, reference, within)


def _same(answer: Node, reference: Node, within: Fraction | None) -> bool:
    if answer[0] == "proportional":
        return _proportional(answer[1], reference[1])
    try:
        return exactly_same(answer, reference, within)
    except Undecided:
        pass
    try:
        left, right = rational(answer, _MOST_BITS), rational(reference, _MOST_BITS)
    except TooLarge:
        return _same_logarithm(answer, reference)
    if left is not None and right is not None:
        return left == right
    if _unevaluated(answer) or _unevaluated(reference):
        return sympy_latex.same_form(answer, reference)
    return _same_values(answer, reference, within)


def _to_base(logarithm: str, tree: Node) -> Node:
    r"""The tree with each bare \log as this logarithm: one text means the same base throughout."""
    if tree[0] in LEAVES:
        return tree
    kind = logarithm if tree[0] == "log" else tree[0]
    return (kind, *(_to_base(logarithm, child) for child in tree[1:]))


def _same_values(answer: Node, reference: Node, within: Fraction | None) -> bool:
    unknown = sorted(_symbols(answer) | _symbols(reference))
    if not unknown:
        return bool(_agree(answer, reference, {})) or _rounds(answer, reference, within)
    found = 0
    for point in _points(unknown, _of_whole(answer) or _of_whole(reference)):
        agreed = _agree(answer, reference, point)
        if agreed is False:
            if _leaves_the_reals(answer, point) or _leaves_the_reals(reference, point):
                continue
            return False
        found += agreed is True
    return found >= _NEEDED


def _leaves_the_reals(tree: Node, point: Mapping[str, Fraction]) -> bool:
    """Whether a root or a logarithm of something negative with unknowns in it is taken there: of
    \\ln a - \\ln b nobody says that it is \\ln(a/b) for negative a and b too."""
    kind, *children = tree
    if kind in LEAVES or kind == "latex":
        return False
    if kind in ("power", "root", "ln", "lg") and _symbols(children[0]):
        base = value_of(children[0], point)
        if not isinstance(base, mpc) and base < 0:
            exact = None if kind in ("ln", "lg") else _exact_exponent(kind, children[1])
            whole = kind == "power" and mp.isint(value_of(children[1], point))
            if not whole and (exact is None or exact.denominator % 2 == 0):
                return True
    return any(_leaves_the_reals(child, point) for child in children)


def _agree(answer: Node, reference: Node, point: Mapping[str, Fraction]) -> bool | None:
    """Whether both have the same value at a point; None where one has none."""
    with mp.workdps(_DIGITS):
        first = _values(answer, reference, point)
        if first is None:
            return None
        largest = max(map(abs, first))
        if abs(first[0] - first[1]) > _EQUAL * largest and largest > _ZERO:
            return False
    digits = _MORE_DIGITS_AT_A_POINT if point else _MORE_DIGITS
    with mp.workdps(digits):
        second = _values(answer, reference, point)
        if second is None:
            return None
        equal = mpf(10) ** -(digits * 3 // 5)
        if abs(second[0] - second[1]) <= equal * max(map(abs, second)):
            return True
        return all(_is_zero(*both, equal) for both in zip(first, second, strict=True))


def _is_zero(value: Value, with_more_digits: Value, nearest: Value) -> bool:
    """Whether a value is what cancelling left."""
    if abs(with_more_digits) > nearest:
        return False
    return bool(abs(value - with_more_digits) >= _STAYS * abs(with_more_digits))


def _same_logarithm(answer: Node, reference: Node) -> bool:
    """Whether two products of numbers too large to be computed are equal. A sum among them is
    refused: beside such numbers any other summand would be lost."""
    with mp.workdps(2 * _DIGITS):
        left, right = _logarithm(answer), _logarithm(reference)
        return left[0] == right[0] and bool(abs(left[1] - right[1]) <= _EQUAL)


def _logarithm(tree: Node) -> tuple[int, Value]:
    """Sign and logarithm of the size of a product. Raises TooLarge for anything else."""
    kind, *children = tree
    if kind == "number" and children[0]:
        return (1, mp.log(children[0].numerator) - mp.log(children[0].denominator))
    if kind == "negate":
        sign, size = _logarithm(children[0])
        return -sign, size
    if kind in ("multiply", "divide"):
        (sign, size), (other_sign, other) = map(_logarithm, children)
        return sign * other_sign, size + (other if kind == "multiply" else -other)
    if kind == "power":
        (sign, size), exponent = _logarithm(children[0]), _whole(children[1])
        return sign if exponent % 2 else 1, size * exponent
    if kind == "factorial":
        return 1, _log_factorial(_whole(children[0]))
    if kind == "binomial":
        n, k = map(_whole, children)
        return 1, _log_factorial(n) - _log_factorial(k) - _log_factorial(n - k)
    raise TooLarge("a sum too large to be computed")


def _log_factorial(n: int) -> Value:
    if n < 0:
        raise TooLarge("a binomial of too few")
    return mp.loggamma(n + 1)


def _whole(tree: Node) -> int:
    value = rational(tree)
    if value is None or value.denominator != 1 or abs(value) > _LONGEST_LOGARITHM:
        raise TooLarge("a number too large to be an answer")
    return int(value)


def _rounds(answer: Node, reference: Node, within: Fraction | None) -> bool:
    with mp.workdps(_DIGITS):
        pair = None if within is None else _values(answer, reference, {})
        if within is None or pair is None or abs(mp.im(pair[0])) > _ZERO:
            return False
        return bool(abs(pair[0] - pair[1]) <= _number(within))


def _proportional(left: Node, right: Node) -> bool:
    """Whether left = c right with one constant c other than 0."""
    unknown = sorted(_symbols(left) | _symbols(right))
    ratios = []
    with mp.workdps(_DIGITS):
        for point in _points(unknown, _of_whole(left) or _of_whole(right)):
            pair = _values(left, right, point)
            if pair is None:
                continue
            if min(map(abs, pair)) < _ZERO:
                return False
            ratios.append(pair[0] / pair[1])
            if abs(ratios[-1] - ratios[0]) > _EQUAL * abs(ratios[0]):
                return False
    return len(ratios) >= _NEEDED and bool(unknown)


@cache
def _drawn(number: int, place: int) -> Fraction:
    draw = random.Random(f"{number} {place}")
    sign = draw.choice((1, -1)) if number % 2 else 1  # at every second point all are positive
    drawn = Fraction(draw.randint(11, 97) * sign, draw.randint(7, 23))
    return 1 / drawn if number // 2 % 2 else drawn  # x^{2024} - 1 is x^{2024} where x is large


@cache
def _drawn_whole(number: int, place: int) -> Fraction:
    draw = random.Random(f"{number} {place}")
    return Fraction(draw.randint(2, 20) * draw.choice((2, 3, 4, 6)))


def _of_whole(tree: Node) -> bool:
    return any(node[0] in ("gcd", "lcm") for node in nodes(tree))


def _points(unknown: list[str], whole: bool) -> Iterator[dict[str, Fraction]]:
    """Values of the unknowns; with `whole`, positive integers that often have a common divisor."""
    drawn = _drawn_whole if whole else _drawn
    for number in range(_POINTS):
        yield {name: drawn(number, place) for place, name in enumerate(unknown)}


def _values(a: Node, b: Node, point: Mapping[str, Fraction]) -> tuple[Value, Value] | None:
    """Both values, None where one has none."""
    try:
        return value_of(a, point), value_of(b, point)
    except NoValue:
        return None


# --- values --------------------------------------------------------------------------------------


def value_of(tree: Node, point: Mapping[str, Fraction]) -> Value:
    """The value where the unknowns are as in `point`, to the precision that is set.

    Raises NoValue, or TooLarge for a number beyond all answers.
    """
    kind, *children = tree
    if kind == "number":
        return _number(children[0])
    if kind == "symbol":
        return _number(point[children[0]])
    if kind == "constant":
        return _constant(children[0])
    if kind == "latex":
        return _bounded(sympy_latex.value_of(children[0], point))
    if kind in ("power", "root"):
        return _bounded(_power(kind, children, point))
    values = [value_of(child, point) for child in children]
    try:
        return _bounded(_FUNCTIONS[kind](*values))
    except (ZeroDivisionError, ValueError, TypeError, OverflowError) as e:
        raise NoValue from e


def _number(value: Fraction) -> Value:
    return mpf(value.numerator) / value.denominator


def _constant(name: str) -> Value:
    if name == "oo":
        raise NoValue
    return {"pi": mp.pi, "e": mp.e, "i": mp.j}[name] * 1


def _bounded(value: Value) -> Value:
    if not mp.isfinite(value):
        raise NoValue
    if value and mp.mag(value) > _MAX_MAGNITUDE:
        raise TooLarge("a number too large to be an answer")
    return value


def _power(kind: str, children: list[Node], point: Mapping[str, Fraction]) -> Value:
    base, exponent = value_of(children[0], point), value_of(children[1], point)
    if kind == "root":
        if exponent == 0:
            raise NoValue
        exponent = 1 / exponent
    if base == 0:
        if mp.re(exponent) <= 0:
            raise NoValue
        return mpf(0)
    if abs(exponent) * (abs(mp.mag(base)) + 1) > _MAX_MAGNITUDE:
        raise TooLarge("a power too large to be an answer")
    exact = _exact_exponent(kind, children[1])
    if exact and exact.denominator % 2 and not isinstance(base, mpc) and base < 0:
        return (-1) ** (exact.numerator % 2) * mp.power(-base, exponent)
    return mp.power(base, exponent)


def _exact_exponent(kind: str, tree: Node) -> Fraction | None:
    exact = rational(tree)
    if exact is None or exact == 0:
        return None
    return 1 / exact if kind == "root" else exact


def _exponential(x: Value) -> Value:
    if abs(x) > _MAX_MAGNITUDE:
        raise TooLarge("a power too large to be an answer")
    return mp.exp(x)


def _of_angle(function: Callable[[Value], Value]) -> Callable[[Value], Value]:
    """Sines of numbers beyond all answers would be computed with as many digits as they have."""

    def bounded(x: Value) -> Value:
        if abs(x) > mpf(10) ** 60:
            raise TooLarge("an angle too large to be an answer")
        return function(x)

    return bounded


def _factorial(n: Value) -> Value:
    if abs(n) > _MAX_FACTORIAL:
        raise TooLarge("a factorial too large to be an answer")
    return mp.factorial(n)


def _binomial(n: Value, k: Value) -> Value:
    if max(abs(n), abs(k)) > _MAX_FACTORIAL:
        raise TooLarge("a binomial too large to be an answer")
    return mp.binomial(n, k)


def _of_reals(function: Callable[..., Value]) -> Callable[..., Value]:
    def real(*values: Value) -> Value:
        if any(isinstance(v, mpc) for v in values):
            raise NoValue
        return function(*values)

    return real


def _of_integers(name: str) -> Callable[..., Value]:
    def integers(*values: Value) -> Value:
        if any(isinstance(v, mpc) or not mp.isint(v) for v in values):
            raise NoValue
        whole = tuple(("number", Fraction(int(v))) for v in values)
        return _number(rational((name, *whole)) or Fraction(0))

    return integers


_FUNCTIONS: dict[str, Callable[..., Value]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "negate": lambda a: -a,
    "abs": abs,
    "factorial": _factorial,
    "binomial": _binomial,
    "exp": _exponential,
    "ln": mp.log,
    "lg": mp.log10,
    "floor": _of_reals(mp.floor),
    "ceil": _of_reals(mp.ceil),
    "min": _of_reals(min),
    "max": _of_reals(max),
    "gcd": _of_integers("gcd"),
    "lcm": _of_integers("lcm"),
    "arcsin": mp.asin,
    "arccos": mp.acos,
    "arctan": mp.atan,
    "arccot": mp.acot,
    "arcsec": mp.asec,
    "arccsc": mp.acsc,
    "arcsinh": mp.asinh,
    "arccosh": mp.acosh,
    "arctanh": mp.atanh,
    **{name: _of_angle(getattr(mp, name)) for name in ("sin", "cos", "tan", "cot", "sec", "csc")},
    **{name: _of_angle(getattr(mp, name)) for name in ("sinh", "cosh", "tanh")},
}


def _symbols(tree: Node) -> set[str]:
    kind, *children = tree
    if kind == "symbol":
        return {children[0]}
    if kind == "latex":
        return sympy_latex.symbols(children[0])
    if kind in ("number", "constant"):
        return set()
    return set().union(*map(_symbols, children))


def _unevaluated(tree: Node) -> bool:
    return tree[0] == "latex" and sympy_latex.is_unevaluated(tree[1])
