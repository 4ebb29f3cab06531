r"""Units behind a number: `10 cm`, `10\text{ square meters}`, `5\,\frac{\text{m}}{\text{s}}`.

A unit is brought to one spelling, so that two units can be compared; none is converted into
another, since a problem that asks for centimetres is not answered in metres.
"""

import re
from fractions import Fraction

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
    "mi/h": "mph",
    "km/h": "kph",
    "n": "newton newtons",
    "j": "joule joules",
    "kj": "kilojoule kilojoules",
    "w": "watt watts",
    "kw": "kilowatt kilowatts",
    "v": "volt volts",
    "a": "ampere amperes amp amps",
    "k": "kelvin",
    "pa": "pascal pascals",
    "mol": "mole moles",
    "cent": "cents ¢",
    "": "dollar dollars usd degree degrees deg percent pct percents unit units rad radian radians",
}
_KNOWN = {word: unit for unit, words in _SPELLINGS.items() for word in (unit, *words.split())}
_PLAIN_LETTERS = {"m", "g", "s", "h", "L", "l", "N", "J", "W", "V"}
"""Single letters that are units without `\\text`; others are variables there."""
_MULTIPLIERS = {
    "dozen": 12,
    "hundred": 100,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
_NOT_UNITS = {"pi", "sqrt", "sin", "cos", "tan", "log", "ln", "exp", "or", "and", "not", "mod"}

_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_FRACTION = re.compile(r"\\frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_BASE = re.compile(r"(?<=[0-9A-Fa-f])_\s*(?:\{\s*(\d+)\s*\}|(\d+))$")
_MODULUS = re.compile(r"\s*\\pmod\s*(?:\{\s*(\w+)\s*\}|(\w))$")
_FIRST_TEXT = re.compile(r"(?:\\frac\s*\{\s*)?\\text\s*\{")
_PLAIN = re.compile(r"(?<=[\d)}])(\s*)([A-Za-z][A-Za-z\s./*^0-9-]{0,60})$")
_FACTOR = re.compile(r"([a-z¢]+)(?:\^?(-?\d))?")


def split_unit(text: str) -> tuple[str, str, Fraction]:
    """(value, unit, multiplier): `5 million km` is ("5", "km", 10**6); unit "" where none stands.

    The value of a text that is nothing but a value is the text itself.
    """
    if base := _BASE.search(text):
        return text[: base.start()], f"base {base[1] or base[2]}", Fraction(1)
    if modulus := _MODULUS.search(text):
        return text[: modulus.start()], f"mod {modulus[1] or modulus[2]}", Fraction(1)
    found = _in_text(text) or _in_plain(text)
    if found is None:
        return text, "", Fraction(1)
    return found


def _in_text(text: str) -> tuple[str, str, Fraction] | None:
    start = _FIRST_TEXT.search(text)
    if start is None or not text[: start.start()].strip():
        return None
    words = _TEXT.sub(lambda m: f" {m[1]} ", text[start.start() :])
    words = _FRACTION.sub(r"\1/\2", words).replace(r"\cdot", "*").replace("{", "").replace("}", "")
    return _read(text[: start.start()], words, spelled_out=True)


def _in_plain(text: str) -> tuple[str, str, Fraction] | None:
    match = _PLAIN.search(text)
    if match is None:
        return None
    words = match[2].strip().rstrip(".")
    if len(words) == 1 and (not match[1] or words not in _PLAIN_LETTERS):
        return None
    return _read(text[: match.start()], words, spelled_out=bool(match[1]))


def _read(value: str, words: str, spelled_out: bool) -> tuple[str, str, Fraction] | None:
    words = words.lower().replace("(", " ").replace(")", " ").replace(".", " ")
    words = re.sub(r"\s*\^\s*", "^", words)
    words = re.sub(r"(?<![a-z])per(?![a-z])", "/", words)
    words = re.sub(r"(?:square|sq)\s+([a-z]+)", r"\1^2", words)
    words = re.sub(r"(?:cubic|cu)\s+([a-z]+)", r"\1^3", words)
    multiplier = Fraction(1)
    factors = []
    for piece in re.findall(r"[/*]|[^\s/*]+", words):
        if piece in "/*":
            factors.append(piece)
            continue
        if piece in _MULTIPLIERS:
            multiplier *= _MULTIPLIERS[piece]
            continue
        unit = _one_unit(piece, spelled_out)
        if unit is None:
            return None
        factors.append(unit)
    spelled = "".join(" " + f if f not in "/*" or not f else f for f in factors if f)
    return value.strip(), spelled.replace(" ", "*").strip("*").replace("/*", "/"), multiplier


def _one_unit(piece: str, spelled_out: bool) -> str | None:
    match = _FACTOR.fullmatch(piece)
    if match is None or match[1] in _NOT_UNITS:
        return None
    word, power = match[1], match[2]
    unit = _KNOWN.get(word)
    if unit is None:
        if not spelled_out or len(word) < 3:
            return None
        unit = word[:-1] if word.endswith("s") else word
    return unit + (power or "") if unit else ""
