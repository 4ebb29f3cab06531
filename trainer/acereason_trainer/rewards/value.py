"""An answer that has no parts: a value with its unit and written precision, a ratio, words."""

import re
from dataclasses import replace
from fractions import Fraction

from acereason_trainer.rewards.answer import Answer
from acereason_trainer.rewards.latex import Node, TooLarge, Unreadable, parse
from acereason_trainer.rewards.normal_form import squeezed
from acereason_trainer.rewards.separators import without_thousands
from acereason_trainer.rewards.stated_precision import DECIMAL, stated_precision
from acereason_trainer.rewards.units import split_unit

_TWO = 2
_LONGEST_PRODUCT = 4
_CHOICE = re.compile(r"\(?([A-J])\)?|\(\s*\\text\s*\{\s*([A-J])\s*\}\s*\)")
_UNKNOWNS_APART = re.compile(r"[a-z](?: [a-z])+")
_SPACED_THOUSANDS = re.compile(
    r"-?\d{1,3}(?: \d{3})+(?:\.\d+)?|-?\d+\.\d{3}(?: \d{3})*(?: \d{1,3})"
)
_MIXED = re.compile(r"(-?)(\d+)\s+(\d+)\s*/\s*(\d+)")
_RATIO = re.compile(r"[^:]+(?::[^:]+)+")
_RATIO_OF_NUMBERS = re.compile(r"[\d. ]+(?::[\d. ]+)+")
_SCIENTIFIC = re.compile(
    r"([-+]?\d+(?:\.(\d*))?)(?:[eE]|\s*(?:\\times|\\cdot|\*)\s*10\s*\^)\s*"
    r"(?:\{\s*([-+]?\d{1,3})\s*\}|([-+]?\d{1,3}))"
)
WHOLE_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_WORDS = re.compile(r"[A-Za-z][A-Za-z' -]+")
_PROSE = re.compile(r"[eiou]|^(?=.*a)(?=.*[^a-d])", re.I)
"""A word has a vowel; of products with one, only those of the first four letters are read."""
_PLAIN_MATH = {"pi", "sqrt", "sin", "cos", "tan", "log", "ln", "exp", "infinity"}
_FOR_SYMPY = re.compile(r"\\[A-Za-z]")
_EMPTY = {"no solution", "no solutions", "none", "empty set", "the empty set", "no real solutions"}
_SAME_WORDS = {
    "dne": "does not exist",
    "all reals": "all real numbers",
    "all real": "all real numbers",
    "reals": "all real numbers",
}
_WRITTEN_FROM = 2
"""References with this many decimals may be rounded values; 0.5 is taken to be exactly 1/2."""
_DIGITS_FROM = 3
"""And with this many digits that count: half a last place of 0.01 is half of the value."""


def single(text: str) -> Answer:
    """A value or words."""
    if (words := _text_of(text)) is not None:
        return Answer("text", words, tree=_product(text))
    if stated := stated_precision(text):
        value, within = stated
        return replace(_value(value), within=within, rounded=False)
    if (whole := WHOLE_TEXT.fullmatch(text)) and _RATIO_OF_NUMBERS.fullmatch(whole[1].strip()):
        text = whole[1].strip()
    if _RATIO.fullmatch(text):
        return Answer("ratio", squeezed(text), tuple(_value(p.strip()) for p in text.split(":")))
    return _value(text)


def _text_of(text: str) -> str | None:
    """The words that a text is, None where it is mathematics."""
    if whole := WHOLE_TEXT.fullmatch(text):
        text = whole[1].strip()
        if any(c.isdigit() for c in text) or _UNKNOWNS_APART.fullmatch(text):
            return None
    elif _is_mathematics(text):
        return None
    if choice := _CHOICE.fullmatch(text):
        return (choice[1] or choice[2]).casefold()
    if not whole and not _WORDS.fullmatch(text):
        return None
    words = re.sub(r"[^\w]+", " ", text.casefold()).strip()
    return "empty set" if words in _EMPTY else _SAME_WORDS.get(words, words)


def _is_mathematics(text: str) -> bool:
    """Whether letters without \\text are a function or unknowns: pi, ab, x y, but not NE or no."""
    if text.lower() in _PLAIN_MATH or _UNKNOWNS_APART.fullmatch(text):
        return True
    return len(text) == _TWO and text.lower() != "no" and not text.isupper()


def _product(text: str) -> Node | None:
    """A short word may be a product of unknowns (abc), but for one of prose (cat)."""
    short = len(text) <= _LONGEST_PRODUCT and text.isalpha() and text.isascii()
    return _tree(text) if short and (text.isupper() or not _PROSE.search(text)) else None


def _value(text: str) -> Answer:
    amount = split_unit(without_thousands(text))
    value, multiplier = amount.value, amount.multiplier
    if whole := WHOLE_TEXT.fullmatch(value):
        value = without_thousands(whole[1].strip())
    if _SPACED_THOUSANDS.fullmatch(value):
        value = value.replace(" ", "")
    tree, within = _number(value)
    if tree is not None and multiplier != 1:
        tree, within = ("multiply", tree, ("number", multiplier)), within and within * multiplier
    return Answer(
        kind="one",
        text=squeezed(text),
        tree=tree,
        within=within,
        rounded=within is not None,
        unit=amount.unit,
        may_be_letters=amount.may_be_letters,
        formula=_tree(text) if amount.may_be_product else None,
    )


def _number(text: str) -> tuple[Node | None, Fraction | None]:
    """The tree, and half of the last decimal where enough of them are written."""
    if decimal := DECIMAL.fullmatch(text):
        return _tree(text), _half_of_last(text, len(decimal[1]), 0)
    if scientific := _SCIENTIFIC.fullmatch(text):
        exponent = int(scientific[3] or scientific[4])
        within = _half_of_last(scientific[1], len(scientific[2] or ""), exponent)
        return _tree(f"{scientific[1]}*10^{{{exponent}}}"), within
    if mixed := _MIXED.fullmatch(text):
        return _tree(rf"{mixed[1]}({mixed[2]}+\frac{{{mixed[3]}}}{{{mixed[4]}}})"), None
    return _tree(text), None


def _half_of_last(written: str, places: int, exponent: int) -> Fraction | None:
    digits = written.lstrip("+-").replace(".", "").lstrip("0")
    if places < _WRITTEN_FROM or len(digits) < _DIGITS_FROM:
        return None
    return Fraction(10) ** (exponent - places) / 2


def _tree(text: str) -> Node | None:
    try:
        return parse(text)
    except TooLarge:
        return None
    except Unreadable:
        return ("latex", text) if _FOR_SYMPY.search(text) and r"\text" not in text else None
