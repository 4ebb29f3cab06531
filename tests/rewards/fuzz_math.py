r"""Fuzzing of extraction, normal forms and comparison: no crash, no hang, no verdict without cause.

    python -m tests.rewards.fuzz_math --minutes 10      (`make fuzz`: this and fuzz_code)

Properties, in turn until the time is over, each with fresh examples of hypothesis:

- any text is extracted, read and compared without an exception but `Undecided`, in bounded time;
- two ways to write the same number agree, whatever stands around it;
- another number never agrees with it;
- what stands around the last box changes nothing;
- lists and sets do not care for order, tuples do;
- points taken out of the real numbers are compared at once, however many;
- answers of different kinds (a pair, a range, a set, an equation, a value) are never equal, and
  comparing them, as comparing any text with them, takes bounded time.
"""

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

from acereason_trainer.rewards.exact import Undecided, exactly_same
from acereason_trainer.rewards.extract import boxed_answer, toolkit_answer
from acereason_trainer.rewards.math import is_same_answer
from acereason_trainer.rewards.symbolic import symbolically_same
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

EXAMPLES = 500
"""Of one property, before it is the next one's turn."""
MOST_SECONDS = 1.0
"""Of CPU, for one comparison in the exact lane: far beyond what any may take, on any machine."""

_PIECES = st.sampled_from(
    Path(__file__).with_name("fuzz_math_pieces.txt").read_text("utf-8").split("\n")
)
TEXTS = st.one_of(
    st.lists(_PIECES, max_size=40).map("".join),
    st.lists(_PIECES, max_size=40).map(" ".join),
    st.text(max_size=80),
    st.tuples(_PIECES, st.integers(1, 700)).map(lambda pair: pair[0] * pair[1]),
    st.tuples(_PIECES, _PIECES, st.integers(1, 300)).map(lambda t: (t[0] + t[1]) * t[2]),
)
NUMBERS = st.fractions(min_value=-(10**6), max_value=10**6, max_denominator=5000) | st.integers(
    -(10**12), 10**12
).map(Fraction)


def ways(value: Fraction) -> list[str]:
    """Exact ways to write a number."""
    top, bottom, sign = abs(value.numerator), value.denominator, "-" if value < 0 else ""
    written = [
        rf"{sign}\frac{{{top}}}{{{bottom}}}",
        rf"\frac{{{sign}{3 * top}}}{{{3 * bottom}}}",
        rf"{sign}\dfrac{{{top}}}{{{bottom}}}",
        f"{sign}{top}/{bottom}",
        rf"\left({sign}{top}\right) \div {bottom}",
        rf"{value + 1}-1" if bottom == 1 else rf"{sign}\tfrac{{{2 * top}}}{{{2 * bottom}}}",
    ]
    if bottom == 1:
        written += [f"{sign}{top}", f"{sign}{top}.0", f"{sign}{top:,}", f"{sign}0{top}"]
        written += [f"{sign}{top:,}".replace(",", "{,}"), f"x={sign}{top}"]
        written.append(f"{sign}{top:,}".replace(",", " "))
    if top > bottom > 1:
        written.append(rf"{sign}{top // bottom}\frac{{{top % bottom}}}{{{bottom}}}")
        written.append(f"{sign}{top // bottom} {top % bottom}/{bottom}")
    if terminating(bottom):
        written.append(decimal(value))
    return written


def terminating(bottom: int) -> bool:
    """Whether a fraction with this denominator is a decimal."""
    for prime in (2, 5):
        while bottom % prime == 0:
            bottom //= prime
    return bottom == 1


def decimal(value: Fraction) -> str:
    """A terminating fraction in full."""
    places = 0
    while (value * 10**places).denominator != 1:
        places += 1
    digits = str(abs(value * 10**places)).rjust(places + 1, "0")
    whole, rest = digits[: len(digits) - places], digits[len(digits) - places :]
    return f"{'-' if value < 0 else ''}{whole}{'.' + rest if rest else ''}"


DECORATIONS = st.sampled_from(
    [
        "{}",
        "${}$",
        " {} ",
        "{}.",
        r"\({}\)",
        r"{}\,",
        r"\displaystyle {}",
        r"{}^\circ",
        r"{}\%",
        "{} cm",
    ]
)


def decided(answer: str, reference: str) -> bool:
    """The verdict, through both lanes as a worker would reach it."""
    try:
        return is_same_answer(answer, reference, exactly_same)
    except Undecided:
        return is_same_answer(answer, reference, symbolically_same)


@given(TEXTS, TEXTS)
def any_text_is_compared(answer: str, reference: str) -> None:
    start = time.process_time()
    with suppress(Undecided):
        assert is_same_answer(answer, reference, exactly_same) in (True, False)
    assert time.process_time() - start < MOST_SECONDS


@given(TEXTS)
def any_text_is_extracted(response: str) -> None:
    start = time.process_time()
    for found in (boxed_answer(response), toolkit_answer(response)):
        assert found is None or found == found.strip()
    assert time.process_time() - start < MOST_SECONDS


@given(st.lists(_PIECES, max_size=12).map("".join), st.lists(_PIECES, max_size=12).map("".join))
def what_rational_arithmetic_leaves_open_is_decided_by_values(answer: str, reference: str) -> None:
    try:
        is_same_answer(answer, reference, exactly_same)
        return
    except Undecided:
        start = time.process_time()
    assert is_same_answer(answer, reference, symbolically_same) in (True, False)
    assert time.process_time() - start < 5 * MOST_SECONDS


@given(NUMBERS, st.data())
def ways_to_write_a_number_agree(value: Fraction, data: st.DataObject) -> None:
    answer, reference = (
        data.draw(st.sampled_from(ways(value))),
        data.draw(st.sampled_from(ways(value))),
    )
    assert decided(data.draw(DECORATIONS).format(answer), reference), (answer, reference)


@given(NUMBERS, NUMBERS, st.data())
def another_number_never_agrees(value: Fraction, other: Fraction, data: st.DataObject) -> None:
    answer, reference = (
        data.draw(st.sampled_from(ways(value))),
        data.draw(st.sampled_from(ways(other))),
    )
    # A reference with two decimals or more may be rounded.
    assume(value != other and abs(value - other) > Fraction(1, 200))
    assert not decided(answer, reference), (answer, reference)


@given(NUMBERS, st.integers(1, 9), st.data())
def a_changed_digit_never_agrees(value: Fraction, by: int, data: st.DataObject) -> None:
    answer = data.draw(st.sampled_from(ways(value + by)))
    assert not decided(answer, data.draw(st.sampled_from(ways(value)))), (answer, value)


@given(st.lists(NUMBERS, min_size=2, max_size=5, unique=True), st.data())
def order_matters_where_it_should(values: list[Fraction], data: st.DataObject) -> None:
    first = [data.draw(st.sampled_from(ways(v)[:4])) for v in values]
    turned = first[1:] + first[:1]
    assert decided(rf"\{{{', '.join(turned)}\}}", rf"\{{{', '.join(first)}\}}")
    assert decided(", ".join(turned), rf"\{{{', '.join(first)}\}}")
    assert decided(f"({', '.join(first)})", f"({', '.join(first)})")
    assert not decided(f"({', '.join(turned)})", f"({', '.join(first)})")
    assert not decided(rf"\{{{', '.join(first[1:])}\}}", rf"\{{{', '.join(first)}\}}")


SMALL = st.integers(-9, 9)
KINDS = {
    "pair": "({0},{1})",
    "range": "{0} < x \\le {1}",
    "interval": "[{0},{1})",
    "ray": "x \\ge {0}",
    "set": r"\{{{0},{1},{2}\}}",
    "triple": "({0},{1},{2})",
    "value": "{0}",
    "equation": "{0}x + y = {2}",
    "holes": "x \\ne {0}, x \\ne {1}, x \\ne {2}",
    "without": r"\mathbb{{R}}\setminus\{{{0},{1},{2}\}}",
    "matrix": r"\begin{{pmatrix}}{0}&{1}\\{2}&0\end{{pmatrix}}",
    "words": r"\text{{no solution}}",
}
SAME_KIND = [{"range", "interval", "pair"}, {"holes", "without"}, {"set", "value"}]
"""May be equal where their numbers are."""
ASSERTED = {"value", "set"}
"""What an answer may name by an equation: `m + n = 5` says 5. A reference may not."""


@given(st.sampled_from(sorted(KINDS)), st.sampled_from(sorted(KINDS)), st.data())
def answers_of_different_kinds_are_never_equal(one: str, other: str, data: st.DataObject) -> None:
    assume(one != other and not any({one, other} <= kinds for kinds in SAME_KIND))
    assume(one != "equation" or other not in ASSERTED)
    answer, reference = (
        KINDS[k].format(*[data.draw(SMALL) for _ in range(3)]) for k in (one, other)
    )
    assert not decided(answer, reference), (answer, reference)


@given(SMALL, SMALL, st.sampled_from(["range", "interval"]), st.data())
def a_pair_that_is_no_interval_is_no_range(
    low: int, high: int, kind: str, data: st.DataObject
) -> None:
    assume(low >= high)
    ends = [data.draw(SMALL), data.draw(SMALL)]
    assert not decided(KINDS[kind].format(*ends), f"({low},{high})")


@given(TEXTS, st.sampled_from(sorted(KINDS)), SMALL, SMALL)
def any_text_is_compared_with_any_kind(answer: str, kind: str, low: int, high: int) -> None:
    start = time.process_time()
    with suppress(Undecided):
        is_same_answer(answer, KINDS[kind].format(low, high, 0), exactly_same)
    assert time.process_time() - start < MOST_SECONDS


@given(st.integers(1, 90), st.booleans(), st.sampled_from(sorted(KINDS)))
def points_taken_out_are_compared_at_once(count: int, listed: bool, kind: str) -> None:
    points = [str(n) for n in range(count)]
    holes = ", ".join(rf"x \ne {n}" for n in points)
    without = rf"\mathbb{{R}}\setminus\{{{', '.join(points)}\}}"
    start = time.process_time()
    with suppress(Undecided):
        is_same_answer(holes if listed else without, KINDS[kind].format(1, 2, 3), exactly_same)
    assert time.process_time() - start < MOST_SECONDS


@given(NUMBERS, st.text(max_size=40))
def what_stands_around_the_box_changes_nothing(value: Fraction, around: str) -> None:
    assume("boxed" not in around and "fbox" not in around and "</think>" not in around)
    answer = ways(value)[0]
    assert boxed_answer(rf"{around}</think>{around} \boxed{{{answer}}} {around}") == answer


PROPERTIES: list[Callable[[], None]] = [
    any_text_is_compared,
    any_text_is_extracted,
    what_rational_arithmetic_leaves_open_is_decided_by_values,
    ways_to_write_a_number_agree,
    another_number_never_agrees,
    a_changed_digit_never_agrees,
    order_matters_where_it_should,
    answers_of_different_kinds_are_never_equal,
    a_pair_that_is_no_interval_is_no_range,
    any_text_is_compared_with_any_kind,
    points_taken_out_are_compared_at_once,
    what_stands_around_the_box_changes_nothing,
]


def main() -> int:
    """Search for so many minutes; 1 where a property was broken, with the smallest example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default: 10)")
    minutes = parser.parse_args().minutes
    search = settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    checks = [search(check) for check in PROPERTIES]
    end, examples = time.monotonic() + 60 * minutes, 0
    while time.monotonic() < end:
        for check in checks:
            check()
            examples += EXAMPLES
            if time.monotonic() > end:
                break
    print(f"{examples:,} examples of {len(checks)} properties: nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
