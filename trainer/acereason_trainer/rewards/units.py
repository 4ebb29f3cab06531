r"""Units behind a number: `10 cm`, `10\text{ square meters}`, `5\,\frac{\text{m}}{\text{s}}`.

A unit is brought to one spelling, so that two units can be compared; none is converted into
another, since a problem that asks for centimetres is not answered in metres.

In \text almost any word is a unit. Outside of it letters are first of all unknowns: only what no
formula writes is a unit there (km, m/s, a plural), and a single letter may be one (`10 m`).
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from acereason_trainer.rewards.latex import FUNCTIONS, GREEK

_SHORT_ONES = "cm mm km in ft yd mi kg mg lb oz hr yr ml mL Hz kJ kW kN Pa eV kV"
_SPELLINGS = {
    "m": "meter meters metre metres",
    "cm": "centimeter centimeters centimetre centimetres",
    "mm": "millimeter millimeters millimetre millimetres",
    "km": "kilometer kilometers kilometre kilometres",
    "in": "inch inches",
    "ft": "foot feet",
    "yd": "yard yards",
    "mi": "mile miles",
    "g": "gram grams",
    "kg": "kilogram kilograms",
    "mg": "milligram milligrams",
    "lb": "lbs pound pounds",
    "oz": "ounce ounces",
    "s": "sec secs second seconds",
    "min": "mins minute minutes",
    "h": "hr hrs hour hours",
    "day": "days",
    "week": "weeks",
    "month": "months",
    "year": "years yr yrs",
    "l": "liter liters litre litres",
    "ml": "milliliter milliliters millilitre millilitres",
    "gal": "gallon gallons",
    "hz": "hertz",
    "n": "newton newtons",
    "j": "joule joules",
    "kj": "kilojoule kilojoules",
    "w": "watt watts",
    "kw": "kilowatt kilowatts",
    "v": "volt volts",
    "a": "ampere amperes amp amps",
    "c": "coulomb coulombs",
    "ohm": "ohms",
    "k": "kelvin",
    "degc": "celsius",
    "degf": "fahrenheit",
    "pa": "pascal pascals",
    "kpa": "kilopascal kilopascals",
    "mol": "mole moles",
    "cent": "cents",
    "yuan": "rmb",
    "yen": "",
    "": "dollar dollars usd degree degrees deg percent pct percents percentage unit units rad "
    "radian radians",
}
_KNOWN = {word: unit for unit, words in _SPELLINGS.items() for word in (unit, *words.split())}
_SHORT = set(_SHORT_ONES.split())
"""Of two letters, that are units without \\text too; others are two unknowns there."""
_LETTERS = {"m", "m^2", "m^3", "g", "s", "h", "L", "l", "N", "J", "W", "V", r"\Omega"}
"""Single letters that may be units without \\text; others are unknowns there."""
_SPEEDS = {("m", "/", "s"), ("m", "/", "s^2")}
"""Of single letters, and still hardly a formula."""
_WRITTEN_OUT = {"mph": "mi / h", "kph": "km / h", "kmh": "km / h"}
_MULTIPLIERS = {
    "dozen": 12,
    "hundred": 100,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
_PLURALS = {"people", "children", "men", "women", "mice", "geese", "sheep", "fish"}
_NUMBERS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty
ninety half halve third quarter fourth fifth sixth seventh eighth ninth tenth twelfth
twentieth hundredth thousandth millionth
"""
_OTHER_WORDS = """
squared cubed factorial minus plus point over divided multiplied mod modulo remainder
negative sqrt pi infinity less than more fewer not about around approximately if when
where for with without except but else otherwise unless between and or of by to at on is
as no so x y z i e
"""
_NUMBER_WORDS = set(_NUMBERS.split())
_NO_UNITS = set(_OTHER_WORDS.split()) | {name.casefold() for name in GREEK | FUNCTIONS}
"""Words that change a value, or give it a condition, or name another value."""

_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_FRACTION = re.compile(r"\\frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_POWER = re.compile(r"\s*\^\s*(?:\{\s*(-?\d)\s*\}|(-?\d))")
_BASE_NAMES = "two three four five six seven eight nine ten eleven twelve"
_BASES = {name: number for number, name in enumerate(_BASE_NAMES.split(), 2)} | {"sixteen": 16}
_BASE = re.compile(
    r"-?(?=[A-F]*[0-9])(?P<digits>[0-9A-F]+) ?_\s*(?:\{\s*(?:\\text\s*\{\s*)?"
    r"(?P<base>\d{1,2}|[a-z]+)\s*\}?\s*\}|\\text\s*\{\s*(?P<name>[a-z]+)\s*\}|(?P<digit>\d{1,2}))"
)
_MODULUS = re.compile(r"\s*\\pmod\s*(?:\{\s*(\w+)\s*\}|(\w))$")
_NUMBER_IN_TEXT = re.compile(r"\\text\s*\{\s*([^{}A-Za-z\\]*\d)\s*([A-Za-z][^{}\d]*)?\}")
_FIRST_TEXT = re.compile(r"(?:\\frac\s*\{\s*)?(?:\\mu\s*)?\\text\s*\{")
_BESIDE_TEXT = re.compile(r"(?:[\s^*/(){}\d.-]|\\(?:frac|cdot|times|Omega|mu)(?![A-Za-z]))*")
_PLAIN = re.compile(
    r"(?:(?<=[\d)}])|(?<=\\pi) )( ?)((?:[A-Za-z]|\\Omega$)[A-Za-z\s./*^()0-9-]{0,60})$"
)
_NUMERAL = re.compile(r"-?[\d., ]+(?:/\d+)?|-?\\frac\s*\{\d+\}\s*\{\d+\}")
_SYMBOL = 2
"""Letters of a symbol, at most."""
_PIECE = re.compile(r"[/*()]|[^\s/*()]+")
_FACTOR = re.compile(r"([A-Za-z]+)(?:\^?(-?\d))?")


@dataclass(frozen=True)
class Amount:
    """A value, and what stands behind it."""

    value: str
    """The text itself where it is nothing but a value."""
    unit: str = ""
    multiplier: Fraction = Fraction(1)
    """`5 million km` is 5, times 10**6, km."""
    may_be_letters: bool = False
    """The unit is a single letter that a formula may have there."""
    may_be_product: bool = False
    """So may each of its letters."""


_ERASED = {
    "dollar": r"\\\$|dollars?|usd",
    "euro": r"€|euros?|eur",
    "sterling": r"£|gbp",
    "cent": r"¢|cents?",
    "yen yuan": r"¥|\\yen",
    "yen": r"yen",
    "yuan": r"yuan|rmb",
    "percent": r"%|\\percent|per[\s~]?cent(?:age)?s?|pct",
    "degree": r"°|\^\s*\{?\s*\\circ|\\degrees?|degrees?|deg",
    "radian": r"rad|radians?",
}
_ERASED_UNIT = re.compile(
    r"(?<![A-Za-z])(?:"
    + "|".join(f"(?P<u{n}>{written})" for n, written in enumerate(_ERASED.values()))
    + ")(?![A-Za-z])",
    re.I,
)
_NAMES_OF_ERASED = list(_ERASED)
"""A sign may be that of several: ¥."""


def erased_units(text: str) -> set[str]:
    """What a text as it was written says of the units that its normal form does not show: money,
    percent, angles. Two texts that both say so must agree somewhere."""
    found = {
        unit
        for match in _ERASED_UNIT.finditer(text)
        if match.lastindex
        for unit in _NAMES_OF_ERASED[match.lastindex - 1].split()
    }
    # One that opens nothing: $5.
    return found | {"dollar"} if text.replace(r"\$", "").count("$") % 2 else found


def split_unit(text: str) -> Amount:
    """What a text says of how much of what."""
    if (base := _BASE.fullmatch(text)) and (number := _base(base)):
        return Amount(text[: base.end("digits")], f"base {number}")
    if modulus := _MODULUS.search(text):
        return Amount(text[: modulus.start()], f"mod {modulus[1] or modulus[2]}")
    if written := _NUMBER_IN_TEXT.match(text):
        rest = rf" \text{{ {written[2]}}}" if written[2] else ""
        text = written[1] + rest + text[written.end() :]
    return _in_text(text) or _in_plain(text) or Amount(text)


def _base(match: re.Match[str]) -> int | None:
    """The base, where all digits are smaller: in F_{10} and 2a_1 an index stands."""
    written = match["base"] or match["name"] or match["digit"]
    base = int(written) if written.isdigit() else _BASES.get(written, 0)
    return base if max(int(digit, 16) for digit in match["digits"]) < base else None


def _in_text(text: str) -> Amount | None:
    start = _FIRST_TEXT.search(text)
    value = text[: start.start()].strip() if start else ""
    if start is None or not value or value.count("{") != value.count("}"):
        return None
    words = text[start.start() :]
    if not _BESIDE_TEXT.fullmatch(_TEXT.sub("", _POWER.sub("", words))):
        return None
    words = _POWER.sub(lambda m: f"^{m[1] or m[2]} ", words)
    words = re.sub(r"\\mu\s*(?:\\text\s*\{\s*)?", lambda m: m[0].removeprefix(r"\mu") + "u", words)
    words = words.replace(r"\Omega", "ohm")
    words = _FRACTION.sub(r"(\1)/(\2)", _TEXT.sub(lambda m: f" {m[1]} ", words))
    words = words.replace(r"\cdot", "*").replace(r"\times", "*").replace("{", "").replace("}", "")
    return _read(value, _pieces(words.casefold()), _in_words)


def _in_plain(text: str) -> Amount | None:
    text = _POWER.sub(lambda m: f"^{m[1] or m[2]}" if m[1] else m[0], text)
    match = _PLAIN.search(text)
    if match is None:
        return None
    value, pieces = text[: match.start()], tuple(_pieces(match[2].rstrip(". ")))
    apart = bool(match[1]) or value.endswith("pi")
    if is_letter := len(pieces) == 1 and pieces[0] in _LETTERS:
        if not match[1] or not _NUMERAL.fullmatch(value):
            return None
        pieces = (pieces[0].replace(r"\Omega", "ohm"),)
    known = is_letter or pieces in _SPEEDS
    is_unit = _in_words if known else _in_words_apart if apart else _in_symbols
    read = _read(value, [piece.casefold() for piece in pieces] if known else pieces, is_unit)
    short = all(len(piece.partition("^")[0]) <= _SYMBOL for piece in pieces)
    return read and replace(read, may_be_letters=is_letter, may_be_product=is_letter or short)


def _pieces(words: str) -> list[str]:
    words = words.replace(".", " ")
    words = re.sub(r"\s*\^\s*", "^", words)
    words = re.sub(r"(?<![a-z])per(?![a-z])", "/", words)
    words = re.sub(r"(?:square|sq)\s+([a-z]+)", r"\1^2", words)
    words = re.sub(r"(?:cubic|cu)\s+([a-z]+)", r"\1^3", words)
    words = re.sub(r"(?<![a-z])([a-z]+)\s+squared(?![a-z])", r"\1^2", words)
    words = re.sub(r"(?<![a-z])([a-z]+)\s+cubed(?![a-z])", r"\1^3", words)
    words = re.sub(r"[a-z]+", lambda m: _WRITTEN_OUT.get(m[0], m[0]), words)
    return _PIECE.findall(words)


def _read(value: str, pieces: Sequence[str], is_unit: "_IsUnit") -> Amount | None:
    """The unit that pieces make, as `kg*m*s^-2`; None where one of them is no unit."""
    multiplier, powers = Fraction(1), Counter[str]()
    sign = group = 1
    for piece in pieces:
        if piece in "/*()":
            if piece in "()":
                group = sign if piece == "(" else 1
            sign = -1 if piece == "/" else 1
            continue
        if (many := _MULTIPLIERS.get(piece.removesuffix("s"))) and sign > 0:
            multiplier *= many
            continue
        factor = _FACTOR.fullmatch(piece)
        if factor is None or not is_unit(factor[1], pieces):
            return None
        word = factor[1].casefold()
        unit = _KNOWN.get(word, word.removesuffix("s") if len(word) > _SYMBOL + 1 else word)
        if unit:
            powers[unit] += group * sign * int(factor[2] or 1)
        sign = 1
    spelled = (f"{u}^{p}" if p != 1 else u for u, p in sorted(powers.items()) if p)
    return Amount(value.strip(), "*".join(spelled), multiplier)


def _changes_value(word: str, pieces: Sequence[str]) -> bool:
    if word == "times":
        return pieces[-1] != word
    singular = word.removesuffix("s")
    return word in _NO_UNITS or not _NUMBER_WORDS.isdisjoint(
        (word, singular, singular.removesuffix("th"))
    )


# --- what is a unit where, by the word and all pieces beside it ----------------------------------

_IsUnit = Callable[[str, Sequence[str]], bool]


def _in_words(word: str, pieces: Sequence[str]) -> bool:
    """In \\text: any word; of unknown ones with one or two letters (C, dm) only symbols beside."""
    if word in _KNOWN:
        return word != "in" or all(map(_is_symbol, pieces))
    if _changes_value(word, pieces):
        return False
    return len(word) > _SYMBOL or all(map(_is_symbol, pieces))


def _in_symbols(word: str, pieces: Sequence[str]) -> bool:
    """Close behind a number: a symbol or name that is known."""
    if len(word) == 1:
        return word in _LETTERS and any(_is_known(piece.partition("^")[0]) for piece in pieces)
    if word == "in":  # an inch, unless words of prose stand beside it
        return all(map(_is_symbol, pieces))
    return _is_known(word)


def _in_words_apart(word: str, pieces: Sequence[str]) -> bool:
    """Apart from it: also what is counted, in the plural."""
    if _in_symbols(word, pieces) or word in _PLURALS:
        return True
    is_plural = len(word) > _SYMBOL + 1 and word.islower() and word.endswith("s")
    return is_plural and not _changes_value(word, pieces)


def _is_known(word: str) -> bool:
    return word in _SHORT or (len(word) > _SYMBOL and word.casefold() in _KNOWN)


def _is_symbol(piece: str) -> bool:
    word = piece.partition("^")[0]
    return word in _KNOWN or len(word) <= _SYMBOL
