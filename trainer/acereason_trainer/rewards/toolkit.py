"""Math answers as the papers' released evaluation toolkit compares them.

For figures that can be laid beside published ones, never as a reward: it accepts a hundredth or a
hundredfold of the reference, rounds, and has a computer algebra system simplify differences; and
its extraction takes bold text where no box is (extract.toolkit_answer). Each of these can be
exploited by training.

Its reader of plain text runs what it reads as Python, which nothing that a model wrote may do; the
training reward's reader takes that place. Comparing runs in a worker that is killed when it takes
too long.
"""

import math as numbers
import re

import sympy  # type: ignore[import-untyped]

from acereason_trainer.rewards import math, sympy_latex
from acereason_trainer.rewards.latex import Unreadable
from acereason_trainer.rewards.symbolic import symbolically_same

_RELATIVE = 1e-4
"""The toolkit's tolerance between numbers."""
_REMOVED = re.compile(
    r"\\(?:left|right|displaystyle|[!,;: ])|\\?[$%]|\^\s*\{?\\circ\}?|\\(?:text|mathrm|textbf)\s*"
    r"\{\s*(?:cm|m|km|inches|feet|degrees|dollars|units?|square units)\s*\}"
)
_TEXT = re.compile(r"\\(?:text|mathrm|textbf|mbox)\s*\{([^{}]*)\}")
_ASSIGNED = re.compile(r"^[A-Za-z]\s*(?:=|\\in)\s*")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_FRACTION = re.compile(r"(-?)\\frac\{(-?\d+(?:\.\d+)?)\}\{(-?\d+(?:\.\d+)?)\}")
_PLAIN_FRACTION = re.compile(r"(-?\d+(?:\.\d+)?)\s*/\s*(-?\d+(?:\.\d+)?)")
_TINY = 1e-12


def is_same_answer(answer: str, reference: str) -> bool:
    """Whether the toolkit takes the answer for the reference."""
    got, want = _cleaned(answer), _cleaned(reference)
    if got.casefold() == want.casefold():
        return True
    left, right = _number(got), _number(want)
    if left is not None and right is not None:
        return any(_near(left, value) for value in (right, right / 100, right * 100)) or (
            _rounded(left, want) == right
        )
    return _same_by_algebra(answer, reference)


def _cleaned(text: str) -> str:
    text = _REMOVED.sub("", text.strip())
    text = _TEXT.sub(r"\1", text)
    text = re.sub(r"\\[dtc]frac", r"\\frac", text)
    text = re.sub(r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\sqrt\s*(\d)", r"\\sqrt{\1}", text)
    text = _THOUSANDS.sub("", _ASSIGNED.sub("", text.strip()))
    return text.strip().rstrip(".").replace(" ", "")


def _number(text: str) -> float | None:
    if match := _FRACTION.fullmatch(text):
        sign, top, bottom = match.groups()
        return None if float(bottom) == 0 else float(f"{sign}1") * float(top) / float(bottom)
    if match := _PLAIN_FRACTION.fullmatch(text):
        return None if float(match[2]) == 0 else float(match[1]) / float(match[2])
    try:
        value = float(text)
    except ValueError:
        return None
    return value if numbers.isfinite(value) else None


def _near(a: float, b: float) -> bool:
    return numbers.isclose(a, b, rel_tol=_RELATIVE)


def _rounded(value: float, reference: str) -> float:
    """The answer, rounded to as many decimals as the reference has."""
    return round(value, len(reference.partition(".")[2]))


def _same_by_algebra(answer: str, reference: str) -> bool:
    """By the training reward's own comparison, or because sympy can simplify the difference."""
    if math.is_same_answer(answer, reference, symbolically_same):
        return True
    try:
        left, right = sympy_latex.expression(answer), sympy_latex.expression(reference)
    except Unreadable:
        return False
    difference = sympy.simplify(left - right)
    if difference == 0:
        return True
    size = sympy.N(sympy.Abs(difference) / sympy.Max(sympy.Abs(right), sympy.Float(_TINY)))
    return bool(size.is_number and size.is_real and size <= _RELATIVE)
