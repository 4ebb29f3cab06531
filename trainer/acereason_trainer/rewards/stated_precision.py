"""How exact a reference says that it is: `3.14 (2 d.p.)`, `\\approx 3.1`, `5.0 \\pm 0.1`."""

import re
from fractions import Fraction

from acereason_trainer.rewards.normal_form import squeezed
from acereason_trainer.rewards.separators import without_thousands
from acereason_trainer.rewards.units import split_unit

DECIMAL = re.compile(r"[-+]?\d*\.(\d+)")
_INTEGER = re.compile(r"[-+]?\d+")
_APPROXIMATELY = re.compile(r"\\approx\s*(.+)", re.S)
_PLUS_MINUS = re.compile(
    r"(.+?)\s*(?:\(\s*(?:\\pm|tolerance|within)\s*(\d*\.?\d+)\s*\)|\\pm\s*(\d*\.\d+))"
)
_STATED = re.compile(
    r"(.+?)\s*(?:\\text\s*\{\s*)?\(\s*(?:rounded |correct |accurate )?(?:to )?(?:the )?"
    r"(?:(?P<count>\d{1,2}|one|two|three|four|five|six) ?(?P<what>d\.?p\.?|decimals?"
    r"|decimal places?|s\.?f\.?|significant (?:figures?|digits?))|"
    r"nearest (?P<nearest>[a-z]+|\d{0,9}\.?\d{1,9}))\.?\s*\)\s*\}?"
)
_COUNTS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
_NEAREST = {
    "integer": Fraction(1),
    "whole": Fraction(1),
    "unit": Fraction(1),
    "one": Fraction(1),
    "ten": Fraction(10),
    "hundred": Fraction(100),
    "thousand": Fraction(1000),
    "tenth": Fraction(1, 10),
    "hundredth": Fraction(1, 100),
    "thousandth": Fraction(1, 1000),
    "cent": Fraction(1, 100),
}


def stated_precision(text: str) -> tuple[str, Fraction] | None:
    """(value, half width) where a text says how exact it is, and the value alone."""
    if approximately := _APPROXIMATELY.fullmatch(text):
        value = approximately[1].strip()
        return value, _last_place(value) / 2
    if (match := _PLUS_MINUS.fullmatch(text)) and DECIMAL.fullmatch(squeezed(match[1])):
        within = Fraction(match[2] or match[3])
        if match[2] or within * 10 <= abs(Fraction(squeezed(match[1]))):
            return match[1], within
    if stated := _STATED.fullmatch(text):
        return stated[1], _stated_step(stated) / 2
    return None


def _stated_step(stated: re.Match[str]) -> Fraction:
    if nearest := stated["nearest"]:
        if nearest[0].isdigit() or nearest[0] == ".":
            return Fraction(nearest)
        return _NEAREST.get(nearest.removesuffix("s"), Fraction(0))
    count = int(_COUNTS.get(stated["count"], stated["count"]))
    if stated["what"].startswith("d"):
        return Fraction(1, 10 ** min(count, 30))
    return _last_place(stated[1].strip())


def _last_place(value: str) -> Fraction:
    """Value of the last written digit of a plain number; 0 for anything else."""
    plain = without_thousands(split_unit(value).value)
    if decimal := DECIMAL.fullmatch(plain):
        return Fraction(1, 10 ** len(decimal[1]))
    return Fraction(1) if _INTEGER.fullmatch(plain) else Fraction(0)
