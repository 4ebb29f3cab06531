r"""Pairs of a reference and a response whose verdict is known, because they are made that way.

Each kind of answer knows a reference, other ways to write the same value, and values that look like
it and are not it. A set of pairs holds every kind equally often; a quarter repeat the reference
letter by letter, a third are wrong, the others write it in another way. The same seed makes the
same pairs.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import count, islice
from typing import Literal

Form = Literal["string", "value", "wrong"]
Lane = Literal["exact", "symbolic"]
"""`exact`: rational arithmetic and text decide the pair. `symbolic`: it takes algebra."""

FORMS: tuple[Form, ...] = (
    *("string", "value", "wrong", "value"),
    *("string", "value", "wrong", "wrong"),
    *("string", "value", "wrong", "value"),
)
"""Shares of the three forms, and the order in which they take turns."""


@dataclass(frozen=True)
class Pair:
    """What a checker is given, and what it must say."""

    reference: str
    response: str
    """As a model wrote it, reasoning first."""
    right: bool | None
    """None where the pair comes from elsewhere and nothing is known."""
    kind: str
    answer: str
    """What stands in the response's box."""
    lane: Lane


@dataclass(frozen=True)
class Ways:
    """A value: the reference, other ways to write it, and what is not it."""

    reference: str
    same: tuple[str, ...]
    other: tuple[str, ...]


def generated_pairs(number: int, seed: int = 0, lane: Lane | None = None) -> list[Pair]:
    """So many different pairs, of one lane or of both.

    Raises ValueError where the kinds do not hold so many.
    """
    pairs: dict[tuple[str, str], Pair] = {}
    for pair in islice(endless_pairs(seed, lane), 50 * number):
        pairs.setdefault((pair.reference, pair.answer), pair)
        if len(pairs) == number:
            return list(pairs.values())
    raise ValueError(f"the kinds do not hold {number:,} different pairs; ask for fewer")


def endless_pairs(seed: int = 0, lane: Lane | None = None) -> Iterator[Pair]:
    """Pairs of each kind and form in turn; some come again."""
    rng = random.Random(f"pairs {seed}")
    kinds = [k for k in KINDS if lane in (None, KINDS[k][0])]
    for position in count():
        turn, kind = divmod(position, len(kinds))
        yield one_pair(rng, kinds[kind], FORMS[(turn + kind) % len(FORMS)])


def one_pair(rng: random.Random, kind: str, form: Form) -> Pair:
    """A pair of a kind in a form."""
    lane, ways_of = KINDS[kind]
    ways = ways_of(rng)
    answer = {
        "string": ways.reference,
        "value": rng.choice(ways.same),
        "wrong": rng.choice(ways.other),
    }[form]
    # A letter-by-letter repetition needs no algebra, whatever the kind.
    lane = "exact" if form == "string" else lane
    return Pair(ways.reference, response_with(answer), form != "wrong", kind, answer, lane)


def response_with(answer: str, thought: str = "Let me see.") -> str:
    r"""A response in the papers' form: reasoning, then the answer in a box."""
    return f"<think>\n{thought}\n</think>\n\nThe final answer is $\\boxed{{{answer}}}$."


# --- kinds: a value, other ways to write it, and what is not it -----------------------------------


def _integer(rng: random.Random) -> Ways:
    n = rng.randint(1_000, 9_999_999)
    grouped = f"{n:,}"
    return Ways(
        str(n), (grouped, grouped.replace(",", "{,}"), f"{n}.0"), (str(n + 1), str(-n), f"{n}0")
    )


def _small_integer(rng: random.Random) -> Ways:
    n = rng.randint(2, 999)
    return Ways(str(n), (f"0{n}", f"{n}.", f"\\frac{{{2 * n}}}{{2}}"), (str(n + 1), f"{n}.5"))


def _negative(rng: random.Random) -> Ways:
    n = rng.randint(2, 500)
    return Ways(f"-{n}", (f"-{n}.0", f"-\\frac{{{3 * n}}}{{3}}"), (str(n), f"-{n + 1}"))


def _fraction(rng: random.Random) -> Ways:
    f = _proper(rng)
    a, b = f.numerator, f.denominator
    return Ways(
        _frac(f),
        (f"{a}/{b}", f"\\dfrac{{{a}}}{{{b}}}", f"\\frac{{{3 * a}}}{{{3 * b}}}"),
        (_frac(1 / f), f"\\frac{{{a + 1}}}{{{b}}}", f"-\\frac{{{a}}}{{{b}}}"),
    )


def _negative_fraction(rng: random.Random) -> Ways:
    f = _proper(rng)
    a, b = f.numerator, f.denominator
    return Ways(f"-{_frac(f)}", (f"\\frac{{-{a}}}{{{b}}}", f"-{a}/{b}"), (_frac(f), f"-{b}/{a}"))


def _decimal(rng: random.Random) -> Ways:
    f = Fraction(4 * rng.randint(1, 200) + rng.choice((1, 3)), 4)
    text = f"{float(f):.2f}"
    return Ways(text, (_frac(f), f"{text}0"), (f"{float(f) + 0.1:.2f}", f"{float(f) + 1:.2f}"))


def _scientific(rng: random.Random) -> Ways:
    m, power = rng.randint(11, 99), rng.randint(4, 8)
    text = f"{m / 10} \\times 10^{{{power}}}"
    n = m * 10 ** (power - 1)
    return Ways(text, (str(n), f"{n:,}"), (str(10 * n), f"{m / 10} \\times 10^{{{power + 1}}}"))


def _percent(rng: random.Random) -> Ways:
    n = rng.randint(2, 99)
    return Ways(f"{n}\\%", (str(n), f"{n} \\%", f"{n}%"), (f"{n + 1}\\%", f"{n / 100}"))


def _length(rng: random.Random) -> Ways:
    n, unit = rng.randint(2, 900), rng.choice(("cm", "km", "kg"))
    return Ways(
        f"{n}\\text{{ {unit}}}",
        (str(n), f"{n} \\mathrm{{{unit}}}", f"{n}\\,\\text{{{unit}}}"),
        (f"{n + 1}\\text{{ {unit}}}", f"{n}0"),
    )


def _money(rng: random.Random) -> Ways:
    n = rng.randint(1_000, 90_000)
    return Ways(str(n), (f"\\${n}", f"\\${n:,}"), (f"\\${n + 1}", f"\\${n}0"))


def _angle(rng: random.Random) -> Ways:
    n = rng.randint(5, 175)
    return Ways(f"{n}^\\circ", (str(n), f"{n}^{{\\circ}}"), (f"{n + 1}^\\circ", f"-{n}"))


def _pair(rng: random.Random) -> Ways:
    a, b = rng.randint(-20, -1), rng.randint(1, 20)
    return Ways(
        f"({a}, {b})",
        (f"({a},{b})", f"\\left({a}, \\frac{{{2 * b}}}{{2}}\\right)"),
        (f"({b}, {a})", f"({a}, {b + 1})", f"({a}, {b}, 0)"),
    )


def _numbers_in_any_order(rng: random.Random) -> Ways:
    a, b, c = sorted(rng.sample(range(1, 60), 3))
    return Ways(
        f"\\{{{a}, {b}, {c}\\}}",
        (f"\\{{{c}, {a}, {b}\\}}", f"\\{{{b},{c},{a}\\}}"),
        (f"\\{{{a}, {b}\\}}", f"\\{{{a}, {b}, {c + 1}\\}}"),
    )


def _roots(rng: random.Random) -> Ways:
    a, b = rng.randint(-30, -1), rng.randint(1, 30)
    return Ways(f"{a}, {b}", (f"{b}, {a}", f"{b},{a}"), (f"{a}, {b + 1}", f"{a}"))


def _interval(rng: random.Random) -> Ways:
    a, b = rng.randint(-20, 0), rng.randint(1, 20)
    return Ways(
        f"[{a}, {b})",
        (f"\\left[{a}, {b}\\right)", f"[{a},\\frac{{{2 * b}}}{{2}})"),
        (f"({a}, {b})", f"[{a}, {b}]", f"[{a}, {b + 1})"),
    )


def _matrix(rng: random.Random) -> Ways:
    a, b, c, d = (rng.randint(-9, 9) for _ in range(4))
    return Ways(
        f"\\begin{{pmatrix}} {a} & {b} \\\\ {c} & {d} \\end{{pmatrix}}",
        (
            f"\\begin{{pmatrix}}{a}&{b}\\\\{c}&{d}\\end{{pmatrix}}",
            f"\\begin{{bmatrix}} {a} & {b} \\\\ {c} & {d} \\end{{bmatrix}}",
        ),
        (f"\\begin{{pmatrix}} {a} & {b} \\\\ {c} & {d + 1} \\end{{pmatrix}}",),
    )


def _value_of_x(rng: random.Random) -> Ways:
    n = rng.randint(2, 400)
    return Ways(str(n), (f"x = {n}", f"x={n}"), (f"x = {n + 1}", f"x = -{n}"))


def _inequality(rng: random.Random) -> Ways:
    n = rng.randint(2, 60)
    return Ways(f"x > {n}", (f"{n} < x", f"x>{n}"), (f"x < {n}", f"x > {n + 1}"))


def _choice(rng: random.Random) -> Ways:
    letter = rng.choice("ABCDE")
    wrong = "ABCDE"[("ABCDE".index(letter) + 1) % 5]
    text = f"\\text{{{letter}}}"
    return Ways(letter, (text, f"\\text{{({letter})}}"), (wrong, f"\\text{{{wrong}}}"))


_SAYINGS = (
    *("even", "odd", "hyperbola", "ellipse", "parabola", "circle", "isosceles", "rhombus"),
    *("Monday", "Tuesday", "Evelyn", "Carla", "increasing", "decreasing", "convex", "concave"),
)


def _words(rng: random.Random) -> Ways:
    word, other = rng.sample(_SAYINGS, 2)
    return Ways(f"\\text{{{word}}}", (word, f"\\text{{ {word} }}"), (other, f"\\text{{{other}}}"))


def _radical(rng: random.Random) -> Ways:
    k, n = rng.randint(2, 12), rng.choice((2, 3, 5, 6, 7, 10, 11, 13))
    return Ways(
        f"{k}\\sqrt{{{n}}}",
        (f"\\sqrt{{{k * k * n}}}", f"\\sqrt{{{n}}} \\cdot {k}"),
        (f"{k + 1}\\sqrt{{{n}}}", f"\\sqrt{{{k * n}}}"),
    )


def _rationalised(rng: random.Random) -> Ways:
    n, k = rng.choice((2, 3, 5, 7, 11, 13)), rng.randint(1, 9)
    top = f"{k}" if k > 1 else ""
    return Ways(
        f"\\frac{{{top}\\sqrt{{{n}}}}}{{{n}}}",
        (f"\\frac{{{k}}}{{\\sqrt{{{n}}}}}",),
        (f"\\frac{{{k}}}{{{n}}}", f"\\frac{{{k + 1}}}{{\\sqrt{{{n}}}}}"),
    )


def _root_and_number(rng: random.Random) -> Ways:
    a, n = rng.randint(1, 30), rng.choice((2, 3, 5, 6, 7))
    return Ways(
        f"{a}+\\sqrt{{{n}}}",
        (f"\\sqrt{{{n}}}+{a}", f"\\frac{{{2 * a}+2\\sqrt{{{n}}}}}{{2}}"),
        (f"{a}-\\sqrt{{{n}}}", f"{a + 1}+\\sqrt{{{n}}}"),
    )


def _multiple_of_pi(rng: random.Random) -> Ways:
    f = _proper(rng, (2, 4, 5, 8))
    a, b = f.numerator, f.denominator
    top = f"{a}" if a > 1 else ""
    return Ways(
        f"\\frac{{{top}\\pi}}{{{b}}}",
        (f"\\frac{{{a}}}{{{b}}}\\pi", f"{float(f)}\\pi", f"\\frac{{{3 * a}\\pi}}{{{3 * b}}}"),
        (f"\\frac{{{a + 1}\\pi}}{{{b}}}", f"\\frac{{{a}}}{{{b}}}"),
    )


def _polynomial(rng: random.Random) -> Ways:
    a, b = rng.sample(range(1, 12), 2)
    expanded = f"x^2 + {a + b}x + {a * b}"
    return Ways(
        expanded,
        (f"(x+{a})(x+{b})", f"{a * b} + {a + b}x + x^2"),
        (f"(x-{a})(x+{b})", f"x^2 + {a + b}x + {a * b + 1}"),
    )


def _rational_function(rng: random.Random) -> Ways:
    a, b = rng.sample(range(2, 12), 2)
    return Ways(
        f"\\frac{{x+{a}}}{{{b}}}",
        (f"\\frac{{x}}{{{b}}}+\\frac{{{a}}}{{{b}}}", f"\\frac{{2x+{2 * a}}}{{{2 * b}}}"),
        (f"\\frac{{x}}{{{b}}}+{a}", f"\\frac{{x+{b}}}{{{a}}}"),
    )


def _in_two_variables(rng: random.Random) -> Ways:
    a, b = rng.randint(2, 9), rng.randint(2, 9)
    return Ways(
        f"{a}m + {b}n",
        (f"{b}n + {a}m", f"{a}(m+n) + {b - a}n" if b > a else f"{b}(m+n) + {a - b}m"),
        (f"{b + 1}m + {a}n", f"{a}m - {b}n"),
    )


def _sine(rng: random.Random) -> Ways:
    k, v = rng.randint(2, 9), rng.choice("xyt")
    return Ways(
        f"{k}\\sin^2 {v}",
        (f"{k}-{k}\\cos^2 {v}", f"{k}(1-\\cos^2 {v})"),
        (f"{k}\\cos^2 {v}", f"{k + 1}\\sin^2 {v}"),
    )


def _logarithm(rng: random.Random) -> Ways:
    n, k = rng.choice((2, 3, 5, 6, 7)), rng.randint(2, 4)
    return Ways(f"{k}\\ln {n}", (f"\\ln {n**k}",), (f"\\ln {n * k + 1}", f"{k + 1}\\ln {n}"))


def _exponential(rng: random.Random) -> Ways:
    a, k = rng.randint(2, 9), rng.randint(2, 5)
    return Ways(
        f"{a}e^{{{k}}}", (f"e^{{{k}}} \\cdot {a}",), (f"{a}e^{{-{k}}}", f"{a + 1}e^{{{k}}}")
    )


def _complex(rng: random.Random) -> Ways:
    a, b = rng.randint(1, 30), rng.randint(2, 30)
    return Ways(f"{a}+{b}i", (f"{b}i+{a}",), (f"{a}-{b}i", f"{b + 1}+{a}i"))


def _two_roots(rng: random.Random) -> Ways:
    a, n = rng.randint(1, 20), rng.choice((2, 3, 5, 7, 11))
    return Ways(
        f"{a} \\pm \\sqrt{{{n}}}",
        (f"{a}-\\sqrt{{{n}}}, {a}+\\sqrt{{{n}}}",),
        (f"{a}+\\sqrt{{{n}}}", f"{a + 1} \\pm \\sqrt{{{n}}}"),
    )


def _line(rng: random.Random) -> Ways:
    a, b, c = rng.randint(2, 9), rng.randint(2, 9), rng.randint(1, 30)
    return Ways(
        f"{a}x + {b}y = {c}",
        (f"{b}y + {a}x = {c}", f"{2 * a}x + {2 * b}y = {2 * c}", f"{a}x + {b}y - {c} = 0"),
        (f"{a}x - {b}y = {c}", f"{a}x + {b}y = {c + 1}"),
    )


def _list_in_words(rng: random.Random) -> Ways:
    a, b, c = sorted(rng.sample(range(-40, 60), 3))
    return Ways(
        f"{a}, {b}, {c}",
        (f"{a}, {b}, \\text{{ and }} {c}", f"x = {c}, {a} \\text{{ or }} {b}"),
        (f"{a}, {b} \\text{{ and }} {c + 1}", f"{a} \\text{{ and }} {b}"),
    )


def _plus_minus_and_zero(rng: random.Random) -> Ways:
    n = rng.randint(2, 90)
    return Ways(
        f"-{n}, 0, {n}",
        (f"0, \\pm {n}", f"\\{{0, \\pm {n}\\}}"),
        (f"\\pm {n}", f"0, \\pm {n + 1}"),
    )


def _named_term(rng: random.Random) -> Ways:
    n, k = rng.randint(1, 12), rng.randint(2, 400)
    return Ways(f"a_{{{n}}} = {k}", (f"a_{{{n}}}={k}", str(k)), (f"a_{{{n}}} = {k + 1}", f"-{k}"))


def _sum_asked_for(rng: random.Random) -> Ways:
    n = rng.randint(10, 999)
    return Ways(str(n), (f"m+n = {n}", f"m + n + p = {n}"), (f"m+n = {n + 1}", f"m-n = -{n}"))


def _monomial(rng: random.Random) -> Ways:
    k, p = rng.randint(2, 30), rng.randint(2, 6)
    return Ways(
        f"{k}n^{{{p}}}",
        (f"\\frac{{{2 * k}n^{{{p}}}}}{{2}}", f"n^{{{p}}} \\cdot {k}"),
        (str(k), f"{k}n^{{{p + 1}}}", f"{k}m^{{{p}}}"),
    )


def _product_of_letters(rng: random.Random) -> Ways:
    k, letters = rng.choice((1, 3, 5, 7, 9, 11, 13)), rng.choice(("mv^2", "gh", "s^2 h", "a b"))
    return Ways(
        f"\\frac{{{k}}}{{2}} {letters}",
        (f"\\frac{{{k} {letters}}}{{2}}", f"\\frac{{{3 * k}}}{{6}} {letters}"),
        (f"\\frac{{{k}}}{{2}}", f"\\frac{{{k + 2}}}{{2}} {letters}"),
    )


def _sine_of_degrees(rng: random.Random) -> Ways:
    d, k = rng.randint(1, 44), rng.randint(2, 9)
    return Ways(
        f"{k}\\sin {d}^\\circ",
        (f"{k}\\cos {90 - d}^\\circ", f"{k}\\sin {180 - d}^{{\\circ}}"),
        (f"{k}\\sin {d}", f"{k}\\sin {d + 1}^\\circ"),
    )


def _proper(rng: random.Random, bottoms: tuple[int, ...] = (3, 7, 9, 11, 13, 17)) -> Fraction:
    while True:
        b = rng.choice(bottoms)
        f = Fraction(rng.randint(1, b - 1), b)
        if f.denominator == b:
            return f


def _frac(f: Fraction) -> str:
    return f"\\frac{{{f.numerator}}}{{{f.denominator}}}"


KINDS: dict[str, tuple[Lane, Callable[[random.Random], Ways]]] = {
    "integer": ("exact", _integer),
    "small integer": ("exact", _small_integer),
    "negative": ("exact", _negative),
    "fraction": ("exact", _fraction),
    "negative fraction": ("exact", _negative_fraction),
    "decimal": ("exact", _decimal),
    "scientific": ("exact", _scientific),
    "percent": ("exact", _percent),
    "length": ("exact", _length),
    "money": ("exact", _money),
    "angle": ("exact", _angle),
    "pair": ("exact", _pair),
    "set": ("exact", _numbers_in_any_order),
    "roots": ("exact", _roots),
    "interval": ("exact", _interval),
    "matrix": ("exact", _matrix),
    "value of x": ("exact", _value_of_x),
    "inequality": ("exact", _inequality),
    "choice": ("exact", _choice),
    "words": ("exact", _words),
    "list in words": ("exact", _list_in_words),
    "plus, minus and zero": ("exact", _plus_minus_and_zero),
    "named term": ("exact", _named_term),
    "sum asked for": ("exact", _sum_asked_for),
    "radical": ("symbolic", _radical),
    "rationalised": ("symbolic", _rationalised),
    "root and number": ("symbolic", _root_and_number),
    "multiple of pi": ("symbolic", _multiple_of_pi),
    "polynomial": ("symbolic", _polynomial),
    "rational function": ("symbolic", _rational_function),
    "two variables": ("symbolic", _in_two_variables),
    "sine": ("symbolic", _sine),
    "logarithm": ("symbolic", _logarithm),
    "exponential": ("symbolic", _exponential),
    "complex": ("symbolic", _complex),
    "two roots": ("symbolic", _two_roots),
    "line": ("symbolic", _line),
    "monomial": ("symbolic", _monomial),
    "product of letters": ("symbolic", _product_of_letters),
    "sine of degrees": ("symbolic", _sine_of_degrees),
}
