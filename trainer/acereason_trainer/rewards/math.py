r"""Whether two answers to a math problem are the same.

Text is brought to a normal form, read as a number, tuple, set, interval, equation or words, and
compared part by part: exactly, by rational arithmetic. That decides most answers in microseconds
and cannot hang. Only where two expressions are not rational does it need algebra, which is asked of
`same` (symbolic.py, in a process that can be killed).

The reference's form decides what is asked for: ordered or not, how many answers, which unit. So a
shotgun list never matches one number, and 0.333 is not 1/3.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from acereason_trainer.rewards.latex import Node, Unreadable, parse, rational

Same = Callable[[Node, Node, int | None], bool]
"""(answer, reference, decimal places the reference is rounded to): are they equal?"""

Kind = Literal["one", "text", "tuple", "set", "interval", "union", "equation", "relation"]

MAX_PARTS = 64
_ROUNDED_FROM_PLACES = 2
"""References with this many decimals may be rounded values; 0.5 is taken to be exactly 1/2."""


class Undecided(Exception):
    """Rational arithmetic does not decide this pair."""


@dataclass(frozen=True)
class Answer:
    """An answer, read."""

    kind: Kind
    text: str
    """Normal form without spaces."""
    parts: tuple["Answer", ...] = ()
    tree: Node | None = None
    """Of `one`, where it could be read."""
    places: int | None = None
    """Decimals, where it is written as a decimal."""
    unit: str = ""
    name: str = ""
    """`x` of `x = 5`; the brackets of an interval; the sign of a relation."""


def is_same_answer(answer: str, reference: str, same: Same) -> bool:
    """Whether `answer` is the reference. What `same` raises comes through."""
    got, want = normal_form(answer), normal_form(reference)
    if _squeezed(got) == _squeezed(want):
        return True
    return _same(read(got), read(want), same)


def exactly_same(answer: Node, reference: Node, places: int | None) -> bool:
    """`Same` by rational arithmetic. Raises Undecided where that is not enough."""
    if answer == reference:
        return True
    left, right = rational(answer), rational(reference)
    if left is None or right is None:
        raise Undecided
    return left == right or rounds_to(left, right, places)


def rounds_to(value: Fraction, written: Fraction, places: int | None) -> bool:
    """Whether `written` is `value` rounded to that many decimals."""
    if places is None or places < _ROUNDED_FROM_PLACES:
        return False
    return bool(abs(value - written) * 2 * 10**places <= 1)


# --- normal form -------------------------------------------------------------------------------

_REPLACED = [
    (
        re.compile(r"\\(?:left|right|bigl|bigr|Bigl|Bigr|big|Big|displaystyle|limits)(?![A-Za-z])"),
        "",
    ),
    (re.compile(r"\\[!,;: ]|~|\\q?quad(?![A-Za-z])|\\(?:hspace|phantom)\{[^{}]*\}"), " "),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ)|°|\\degrees?(?![A-Za-z])"), ""),
    (re.compile(r"\\?%"), ""),
    (re.compile(r"\\?[$£€]"), ""),
    (re.compile(r"\\[()\[\]]"), ""),
    (re.compile(r"[\u2212\u2013]"), "-"),
    (re.compile(r"\u00d7"), r"\\times "),
    (re.compile(r"[·⋅]"), r"\\cdot "),
    (re.compile(r"÷"), "/"),
    (re.compile(r"√"), r"\\sqrt "),
    (re.compile(r"π"), r"\\pi "),
    (re.compile(r"∞"), r"\\infty "),
    (re.compile(r"\u222a"), r"\\cup "),
    (re.compile(r"±"), r"\\pm "),
    (re.compile(r"≤|\\leq?(?:slant)?(?![A-Za-z])"), "<="),
    (re.compile(r"≥|\\geq?(?:slant)?(?![A-Za-z])"), ">="),
    (re.compile(r"\\lt(?![A-Za-z])"), "<"),
    (re.compile(r"\\gt(?![A-Za-z])"), ">"),
    (re.compile(r"≠|\\neq?(?![A-Za-z])"), "!="),
    (re.compile(r"\\[dt]frac"), r"\\frac"),
    (re.compile(r"\\l(?:brace|\{)"), r"\\{"),
    (re.compile(r"\\rbrace"), r"\\}"),
    (re.compile(r"\\[lr]?vert(?![A-Za-z])|\\\|"), "|"),
    (
        re.compile(r"\\(?:mathrm|textrm|textbf|mathbf|textit|mbox|rm|bf|operatorname)\s*\{"),
        r"\\text{",
    ),
]
_WHOLE_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_JOINED = re.compile(r"\s*(?:\\text\s*\{\s*(?:or|and)\s*\}|(?<![A-Za-z])(?:or|and)(?![A-Za-z]))\s*")


def normal_form(text: str) -> str:
    """The same answer without decoration: spacing, degrees, percent, currency, dollar signs."""
    text = text.strip()
    for pattern, replacement in _REPLACED:
        text = pattern.sub(replacement, text)
    text = _JOINED.sub(" , ", text)
    text = text.strip().rstrip(".").strip()
    return re.sub(r"\s+", " ", text)


def _squeezed(text: str) -> str:
    return text.replace(" ", "")


# --- reading -----------------------------------------------------------------------------------

_THOUSANDS = re.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_SPACED_THOUSANDS = re.compile(r"-?\d{1,3}(?: \d{3})+")
_DECIMAL = re.compile(r"-?\d*\.(\d+)")
_SCIENTIFIC = re.compile(r"(-?\d+(?:\.\d*)?)[eE]([+-]?\d{1,3})")
_ASSIGNED = re.compile(r"([A-Za-z](?:_\{?\w+\}?)?(?:\([A-Za-z]\))?)\s*=\s*([^=<>]+)")
_MEMBER = re.compile(r"[A-Za-z]\s*\\in(?![A-Za-z])\s*(.+)", re.S)
_RELATION = re.compile(r"!=|<=|>=|<|>")
_CHOICE = re.compile(r"\(?([A-J])\)?")
_WORDS = re.compile(r"[A-Za-z][A-Za-z' -]*")
_WITH_UNIT = re.compile(
    r"(?P<value>.*?[\d})])\s*"
    r"(?:\\text\s*\{(?P<text>[^{}]*)\}|\s(?P<word>[A-Za-z][A-Za-z ./]*)|(?P<close>[A-Za-z]{2,}))"
    r"(?:\s*\^\s*\{?(?P<power>[23])\}?)?",
    re.S,
)
_UNITS = {
    "m": "m",
    "meter": "m",
    "metre": "m",
    "cm": "cm",
    "centimeter": "cm",
    "centimetre": "cm",
    "mm": "mm",
    "millimeter": "mm",
    "km": "km",
    "kilometer": "km",
    "kilometre": "km",
    "in": "in",
    "inch": "in",
    "inches": "in",
    "ft": "ft",
    "foot": "ft",
    "feet": "ft",
    "yd": "yd",
    "yard": "yd",
    "mi": "mi",
    "mile": "mi",
    "g": "g",
    "gram": "g",
    "kg": "kg",
    "kilogram": "kg",
    "mg": "mg",
    "lb": "lb",
    "pound": "lb",
    "oz": "oz",
    "ounce": "oz",
    "s": "s",
    "sec": "s",
    "second": "s",
    "min": "min",
    "minute": "min",
    "h": "h",
    "hr": "h",
    "hour": "h",
    "day": "day",
    "l": "l",
    "liter": "l",
    "litre": "l",
    "ml": "ml",
    "hz": "hz",
    "mph": "mph",
    "cent": "cent",
    "dollar": "",
    "usd": "",
    "degree": "",
    "deg": "",
    "percent": "",
    "unit": "",
    "rad": "",
    "radian": "",
    "sq": "sq",
    "n": "n",
    "j": "j",
    "w": "w",
    "v": "v",
}
_NOT_UNITS = {"pi", "sqrt", "sin", "cos", "tan", "log", "ln", "exp"}


def read(text: str) -> Answer:  # noqa: PLR0911 - one return for each form
    """The structure of a normal form."""
    squeezed = _squeezed(text)
    if member := _MEMBER.fullmatch(text):
        return read(member[1].strip())
    if "\\pm" in text:
        both = (text.replace("\\pm", sign) for sign in "+-")
        return Answer("set", squeezed, tuple(read(t.strip().lstrip("+")) for t in both))
    unions = _split(text, "\\cup")
    if len(unions) > 1:
        return Answer("union", squeezed, tuple(map(read, unions)))
    if text.startswith("\\{") and text.endswith("\\}"):
        return Answer("set", squeezed, _parts(text[2:-2]))
    if text[:1] in ("(", "[") and text[-1:] in (")", "]") and _closes_at_end(text):
        inner = _split(text[1:-1], ",")
        if len(inner) > 1:
            brackets = text[0] + text[-1]
            kind: Kind = "tuple" if brackets == "()" else "interval"
            return Answer(kind, squeezed, _parts(text[1:-1]), name=brackets)
    if _THOUSANDS.fullmatch(squeezed):
        return _one(squeezed.replace(",", ""), squeezed)
    if len(_split(text, ",")) > 1:
        return Answer("set", squeezed, _parts(text))
    return _single(text, squeezed)


def _parts(text: str) -> tuple[Answer, ...]:
    return tuple(read(part) for part in _split(text, ",")[: MAX_PARTS + 1])


def _single(text: str, squeezed: str) -> Answer:  # noqa: PLR0911 - one for each form
    if assigned := _ASSIGNED.fullmatch(text):
        value = read(assigned[2].strip())
        return Answer(
            value.kind,
            value.text,
            value.parts,
            value.tree,
            value.places,
            value.unit,
            name=value.name or _squeezed(assigned[1]),
        )
    if _RELATION.search(text):
        pieces = _RELATION.split(text)
        signs = "".join(_RELATION.findall(text))
        return Answer("relation", squeezed, tuple(read(p.strip()) for p in pieces), name=signs)
    if text.count("=") == 1:
        return Answer("equation", squeezed, tuple(read(p.strip()) for p in text.split("=")))
    if whole := _WHOLE_TEXT.fullmatch(text):
        text = whole[1].strip()
        if not any(c.isdigit() for c in text):
            return Answer("text", _words(text))
    if choice := _CHOICE.fullmatch(text):
        return Answer("text", choice[1].casefold())
    if _WORDS.fullmatch(text) and len(text) > 2 and text.lower() not in _NOT_UNITS:
        return Answer("text", _words(text))
    amount, unit = _unit_of(text)
    if _SPACED_THOUSANDS.fullmatch(amount):
        amount = _squeezed(amount)
    return _one(amount, squeezed, unit)


def _one(value: str, squeezed: str, unit: str = "") -> Answer:
    value = value.replace(",", "") if _THOUSANDS.fullmatch(value) else value
    if scientific := _SCIENTIFIC.fullmatch(value):
        value = f"{scientific[1]}*10^{{{scientific[2]}}}"
    decimal = _DECIMAL.fullmatch(value)
    try:
        tree = parse(value)
    except Unreadable:
        tree = None
    return Answer("one", squeezed, (), tree, len(decimal[1]) if decimal else None, unit)


def _unit_of(text: str) -> tuple[str, str]:
    """A value and its unit in a standard spelling; "" where it has none."""
    match = _WITH_UNIT.fullmatch(text)
    if match is None:
        return text, ""
    word = (match["text"] or match["word"] or match["close"] or "").strip().lower().rstrip(".")
    singular = word[:-1] if word.endswith("s") and len(word) > 1 else word
    known = word in _UNITS or singular in _UNITS
    spelled_out = len(word) > 2 and word not in _NOT_UNITS and not match["close"]
    if not (known or match["text"] is not None or spelled_out) or word in _NOT_UNITS:
        return text, ""
    unit = _UNITS.get(word, _UNITS.get(singular, singular))
    return match["value"].strip(), unit + (match["power"] or "")


def _words(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", " ", text.casefold()).strip()


def _split(text: str, separator: str) -> list[str]:
    """Pieces between separators that stand outside of all brackets."""
    pieces, depth, start, position = [], 0, 0, 0
    while position < len(text):
        if depth == 0 and text.startswith(separator, position):
            pieces.append(text[start:position].strip())
            position += len(separator)
            start = position
            continue
        character = text[position]
        depth += (character in "([{") - (character in ")]}")
        position += 1
    return [*pieces, text[start:].strip()]


def _closes_at_end(text: str) -> bool:
    """Whether the first bracket is closed by the last character."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0:
            return position == len(text) - 1
    return False


# --- comparing ---------------------------------------------------------------------------------


def _same(answer: Answer, reference: Answer, same: Same) -> bool:  # noqa: PLR0911 - as above
    if reference.kind == "equation" and answer.name:
        answer = _as_equation(answer)
    if answer.kind == "equation" and reference.name:
        reference = _as_equation(reference)
    if answer.kind != reference.kind:
        return False
    match reference.kind:
        case "one":
            return _same_value(answer, reference, same)
        case "text":
            return answer.text == reference.text
        case "tuple" | "interval":
            return answer.name == reference.name and _in_order(answer, reference, same)
        case "set" | "union":
            return _in_any_order(answer, reference, same)
        case "relation":
            return _same_relation(answer, reference, same)
        case "equation":
            return _same_equation(answer, reference, same)


def _same_value(answer: Answer, reference: Answer, same: Same) -> bool:
    if answer.name and reference.name and answer.name != reference.name:
        return False
    if answer.unit and reference.unit and answer.unit != reference.unit:
        return False
    if answer.tree is None or reference.tree is None:
        return False
    places = reference.places
    if answer.places is not None and places is not None and answer.places < places:
        places = None  # fewer digits than asked for: only an exact value will do
    try:
        return same(answer.tree, reference.tree, places)
    except Unreadable:
        return False


def _in_order(answer: Answer, reference: Answer, same: Same) -> bool:
    if len(answer.parts) != len(reference.parts) or len(answer.parts) > MAX_PARTS:
        return False
    return all(_same(a, r, same) for a, r in zip(answer.parts, reference.parts, strict=True))


def _in_any_order(answer: Answer, reference: Answer, same: Same) -> bool:
    if len(answer.parts) != len(reference.parts) or len(answer.parts) > MAX_PARTS:
        return False
    left = list(answer.parts)
    for wanted in reference.parts:
        found = next((a for a in left if _same(a, wanted, same)), None)
        if found is None:
            return False
        left.remove(found)
    return True


_TURNED = str.maketrans("<>", "><")


def _same_relation(answer: Answer, reference: Answer, same: Same) -> bool:
    if answer.name == reference.name:
        return _in_order(answer, reference, same)
    if len(answer.parts) != 2 or answer.name.translate(_TURNED) != reference.name:
        return False
    turned = Answer("relation", "", answer.parts[::-1], name=reference.name)
    return _in_order(turned, reference, same)


def _same_equation(answer: Answer, reference: Answer, same: Same) -> bool:
    """Both say that some expression is zero; the two expressions may differ by a factor."""
    got, want = _zero_side(answer), _zero_side(reference)
    if got is None or want is None:
        return False
    try:
        return same(("proportional", got), ("proportional", want), None)
    except Unreadable:
        return False


def _as_equation(assigned: Answer) -> Answer:
    """`y = 2x + 1` read as an equation instead of as the value of y."""
    if assigned.kind != "one":
        return assigned
    return Answer("equation", assigned.text, (_one(assigned.name, assigned.name), assigned))


def _zero_side(equation: Answer) -> Node | None:
    left, right = (part.tree for part in equation.parts)
    return None if left is None or right is None else ("subtract", left, right)
