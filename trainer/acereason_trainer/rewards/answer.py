r"""What kind of thing an answer is: a number, a list, a set, a pair, an interval, words.

Reading is one pass from the outside in. It decides nothing about equality (math.py does), and keeps
what only one side may carry: the name of `x = 5`, a unit, a choice letter, a written precision.
"""

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate, cycle, product
from typing import Literal

from acereason_trainer.rewards.latex import MAX_DEPTH, Node, TooLarge, Unreadable, parse
from acereason_trainer.rewards.normal_form import squeezed
from acereason_trainer.rewards.units import split_unit

Kind = Literal[
    "one",
    "text",
    "list",
    "set",
    "tuple",
    "interval",
    "union",
    "without",
    "equation",
    "relation",
    "matrix",
    "ratio",
    "cases",
]

MAX_PARTS = 64
_TWO = 2
_LONGEST_PRODUCT = 4
_MOST_SIGNS = 4
"""Of plus or minus in one expression: sixteen values."""
OTHERWISE = "otherwise"
"""The condition of a function's last case, in whatever word."""
_CONNECTORS = (r"\or", r"\and", ",")
"""Of a list; of several in one, the first of these says what the list is."""


@dataclass(frozen=True)
class Answer:
    """An answer, read."""

    kind: Kind
    text: str
    """Normal form without spaces; the words of a `text`."""
    parts: tuple["Answer", ...] = ()
    tree: Node | None = None
    """Of `one`, where it could be read."""
    within: Fraction | None = None
    """How far from it, as a reference, an answer may be: half of its last decimal, or as stated."""
    rounded: bool = False
    """`within` is from its decimals, not stated: it may as well be exact."""
    unit: str = ""
    may_be_letters: bool = False
    """The unit is a letter that may as well be an unknown: `10 m`."""
    formula: Node | None = None
    """The text with the unit read as unknowns, where a formula may be written like that."""
    name: str = ""
    """`x` of `x = 5`; an index is written without braces."""
    element: str = ""
    """`x` of `x \\in (1, 2)`: what is in such a set, where the set itself may have a name."""
    label: str = ""
    """`B` of `(B) 42`."""
    signs: tuple[str, ...] = ()
    """Brackets of an interval, signs of a relation, connector of a list, columns of a matrix."""


_CHOICE = re.compile(r"\(?([A-J])\)?|\(\s*\\text\s*\{\s*([A-J])\s*\}\s*\)")
_UNKNOWNS_APART = re.compile(r"[a-z](?: [a-z])+")
_LABELLED = re.compile(
    r"(?:\\text\s*\{\s*\(?([A-J])\)[ .:]*\}|\(([A-J])\)|\\text\s*\{\s*([A-J])[.:]\s*\}|([A-J])[.)])"
    r"\s*(?![-+*/^=<>,\s]|\\(?:or|and)(?![A-Za-z]))(.+)",
    re.S,
)
_FURTHER_LABEL = re.compile(
    r"(?<![A-Za-z\\])\([A-J]\)|(?:^|[\s,{])[A-J][.:](?!\d)|^[^(]*(?:^|[\s,{])[A-J]\)|^[A-J]$"
)
_CHOICES_IN_A_ROW = re.compile(r"(?:\([A-J]\)\s*){2,}")
_BUILDER = re.compile(
    r"\\\{\s*([A-Za-z])\s*(?:\\in\s*\\mathbb\{R\})?\s*(?:\\mid|:|\|)\s*(.+)\\\}", re.S
)
_MEMBER = re.compile(
    r"(?:([A-Za-z]|\([A-Za-z](?:\s*,\s*[A-Za-z])+\))\s*\\in(?![A-Za-z])\s*)+(.+)", re.S
)
_STATES = re.compile(r"[=<>]|\\in(?![A-Za-z])")
_INDEX = r"_(?:\{(?:[^{}=]|\{[^{}=]*\}){1,40}\}|\\[A-Za-z]+(?:\s*\{[^{}=]*\})?|\w)"
_NAME = re.compile(
    r"(?:m?\s*\\(?:angle|triangle|Delta)\s*)?"
    r"(?:\\(?:sin|cos|tan|cot)\s*(?:\\angle\s*)?(?=[A-Z\\]))?"
    r"\|?(?:\\(?:overline|vec|hat|bar)\s*\{\s*[A-Za-z]+\s*\}|"
    rf"[A-Za-z](?:{_INDEX})?'*(?:\^\s*\{{\s*(?:-1|\(\w\))\s*\}})?|[A-Za-z]{{2,12}}|"
    rf"\\[a-z]+(?:{_INDEX})?|\[[A-Z]{{3,8}}\]|\\text\s*\{{[^{{}}]*\}}(?:{_INDEX})?)\|?"
    r"(?:\s*\([^()]{1,24}\))?"
)
_RATIO_OF_NAMES = re.compile(
    r"[A-Z]\w*(?:_\{\w+\})?(?:\s*:\s*[A-Z]\w*(?:_\{\w+\})?)+|\\frac\s*\{[A-Z]+\}\s*\{[A-Z]+\}"
)
_NAMED_TUPLE = re.compile(r"\(\s*[A-Za-z](?:_\w)?(?:\s*,\s*[A-Za-z](?:_\w)?)+\s*\)")
_PLUS_OR_MINUS = re.compile(r"\\pm(?![A-Za-z])")
_MINUS_OR_PLUS = re.compile(r"\\mp(?![A-Za-z])")
_NAMED_INDEX = re.compile(_INDEX)
_MARKS = re.compile(r"\\text|[\\{}]")
_RELATION = re.compile(r"!=|<=|>=|<|>")
_MATRIX = re.compile(
    r"(?P<scale>.*?)\\begin\s*\{(?P<env>[pbBvV]?matrix|smallmatrix|array)\}(?:\s*\{[lcr|]*\})?"
    r"(?P<rows>.*)\\end\s*\{(?P=env)\}(?P<turned>\s*\^\s*\{?\s*(?:T|\\top|\\text\{T\})\s*\}?)?\s*[)\]]?",
    re.S,
)
_CASES = re.compile(
    r"(?:(?P<name>[^=<>]{1,24}?)\s*=\s*)?\\begin\s*\{cases\}(?P<rows>.*)\\end\s*\{cases\}", re.S
)
_IF = re.compile(
    r"^\s*,?\s*(?:\\text\s*\{\s*,?\s*(?:if|when|for|where)?\s*:?\s*\}|"
    r"(?:if|when|for|where)(?![A-Za-z]))"
)
_TEXT_MARKS = re.compile(r"\\text(?![A-Za-z])|[{}]")
_OTHERWISE = re.compile(r"(?:\\text\s*\{)?\s*(?:otherwise|else|elsewhere)\s*\.?\s*\}?", re.I)
_TRANSPOSED = re.compile(r"\s*\^\s*\{?\s*(?:T|\\top|\\text\{T\})\s*\}?$")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!\d|,\d)")
_ONE_OR_SEVERAL = re.compile(r"-?\d{1,3}(?:,\d{3})+")
_SPACED_THOUSANDS = re.compile(
    r"-?\d{1,3}(?: \d{3})+(?:\.\d+)?|-?\d+\.\d{3}(?: \d{3})*(?: \d{1,3})"
)
_MIXED = re.compile(r"(-?)(\d+)\s+(\d+)\s*/\s*(\d+)")
_RATIO = re.compile(r"[^:]+(?::[^:]+)+")
_RATIO_OF_NUMBERS = re.compile(r"[\d. ]+(?::[\d. ]+)+")
_DECIMAL = re.compile(r"[-+]?\d*\.(\d+)")
_INTEGER = re.compile(r"[-+]?\d+")
_SCIENTIFIC = re.compile(
    r"([-+]?\d+(?:\.(\d*))?)(?:[eE]|\s*(?:\\times|\\cdot|\*)\s*10\s*\^)\s*"
    r"(?:\{\s*([-+]?\d{1,3})\s*\}|([-+]?\d{1,3}))"
)
_WHOLE_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_CONNECTED = re.compile(r"\\(?:or|and)(?![A-Za-z])|[,=]")
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

_ALL_REALS = (r"\text{all real numbers}", "all real numbers", r"\text{all reals}", "all reals")
_REALS = r"(-\infty,\infty)"
_WRITTEN_FROM = 2
"""References with this many decimals may be rounded values; 0.5 is taken to be exactly 1/2."""
_DIGITS_FROM = 3
"""And with this many digits that count: half a last place of 0.01 is half of the value."""


def read(text: str) -> Answer:
    """The structure of a normal form."""
    if max(_depths(text, "([{", ")]}"), default=0) > MAX_DEPTH:
        return Answer("one", squeezed(text))
    if _CHOICES_IN_A_ROW.fullmatch(text):
        return _unlabelled(",".join(re.findall("[A-J]", text)))
    whole = _WHOLE_TEXT.fullmatch(text)
    labelled = _LABELLED.fullmatch(whole[1].strip() if whole else text)
    # With another label behind it, a label does not say what the answer is.
    if labelled is None or _FURTHER_LABEL.search(labelled[5]):
        return _unlabelled(text)
    letter = next(g for g in labelled.groups()[:4] if g)
    rest = rf"\text{{{labelled[5]}}}" if whole else labelled[5]
    return replace(_unlabelled(rest), label=letter.casefold())


def _unlabelled(text: str) -> Answer:
    if (whole := _WHOLE_TEXT.fullmatch(text)) and _CONNECTED.search(whole[1]):
        text = whole[1].strip()
    while text.startswith("{") and _closes_at_end(text):
        text = text[1:-1].strip()
    text = _exact_side(text)
    found = _cases(text) or _reals(text) or _bracketed(text) or _several(text) or _with_sign(text)
    return found or _matrix(text) or _single(text)


def as_several(answer: Answer) -> Answer | None:
    """`100,200` read as two numbers instead of as one; None for anything else, `1,000` too, since
    no number is written as 000."""
    if answer.kind != "one" or not _ONE_OR_SEVERAL.fullmatch(answer.text) or ",0" in answer.text:
        return None
    return Answer("list", answer.text, tuple(_single(t) for t in answer.text.split(",")))


# --- from the outside in -----------------------------------------------------------------------


def _cases(text: str) -> Answer | None:
    """A function by cases: pairs of a value and when it is that, with the function's name."""
    match = _CASES.fullmatch(text)
    if match is None:
        return None
    rows = [row.strip() for row in match["rows"].split(r"\\") if row.strip()]
    pairs = [_case(row) for row in rows[: MAX_PARTS + 1]]
    name = _name(match["name"].strip()) if match["name"] else ""
    return Answer("cases", squeezed(text), tuple(pairs), name=name)


def _case(row: str) -> Answer:
    value, apart, condition = row.partition("&")
    if not apart:
        value, _, condition = row.partition(",")
    return Answer("tuple", squeezed(row), (read(value.strip(" ,")), _condition(condition)))


def _condition(text: str) -> Answer:
    r"""When a case holds; words are the same in one \text and in several."""
    text = _IF.sub("", text.strip()).strip(" ,.")
    if _OTHERWISE.fullmatch(text):
        return Answer("text", OTHERWISE)
    whole = _WHOLE_TEXT.fullmatch(text)
    if whole and _STATES.search(whole[1]):
        text, whole = _IF.sub("", whole[1].strip()), None
    if not whole and (condition := read(text)).kind != "text" and _is_read(condition):
        return condition
    words = " ".join(_TEXT_MARKS.sub(" ", text).split()).casefold()
    return Answer("text", _IF.sub("", words).strip(" ,."))


def _is_read(answer: Answer) -> bool:
    return (answer.kind != "one" or answer.tree is not None) and all(map(_is_read, answer.parts))


def _reals(text: str) -> Answer | None:  # noqa: PLR0911 - one for each form
    """Sets of real numbers that are written about, not listed."""
    if builder := _BUILDER.fullmatch(text):
        return read(builder[2].strip())
    if (member := _MEMBER.fullmatch(text)) and _joins_no_others(member[2]):
        return replace(read(member[2].strip()), element=member[1])
    if text == r"\mathbb{R}" or text.casefold() in _ALL_REALS:
        return read(_REALS)
    if text in (r"\emptyset", r"\{\}", r"\{ \}"):
        return Answer("text", "empty set")
    if len(split(text, "=")) > 1:
        return None  # of A \cup B = [0, 1], what it says is on the right
    whole, *without = split(text, r"\setminus")
    if len(without) == 1:
        return Answer("without", squeezed(text), (read(whole), read(without[0])))
    unions = split(text, r"\cup")
    if len(unions) > 1:
        return Answer("union", squeezed(text), tuple(map(read, unions)))
    return None


def _joins_no_others(rest: str) -> bool:
    r"""Not the first of several, as in x \in (-1, 2) \or x \in (3, 4)."""
    return not any(map(_STATES.search, _pieces(rest, _CONNECTORS)[1:]))


def _bracketed(text: str) -> Answer | None:
    text = _TRANSPOSED.sub("", text) if text.startswith("(") else text
    if text.startswith(r"\{") and text.endswith(r"\}") and _closes_at_end(text[1:]):
        return Answer("set", squeezed(text), _read_all(_members(text[2:-2], _CONNECTORS)))
    if text[:1] in ("(", "[") and text[-1:] in (")", "]") and _closes_at_end(text):
        members = _members(text[1:-1], (",",))
        if len(members) < 2:
            return None
        if text[0] == "(" and (written := _with_both_signs(text)):
            return Answer("list", squeezed(text), tuple(map(read, written)), signs=(r"\pm",))
        parts = tuple(map(read, members[: MAX_PARTS + 1]))
        brackets = text[0] + text[-1]
        if brackets == "()" or len(parts) > 2:
            return Answer("tuple", squeezed(text), parts)
        return Answer("interval", squeezed(text), parts, signs=(text[0], text[-1]))
    return None


def _exact_side(text: str) -> str:
    r"""`10/3 \approx 3.33` is its exact side, `x \approx 3.33` its value."""
    left, *right = split(text, r"\approx")
    if len(right) != 1 or not left:
        return text
    if _NAME.fullmatch(left):
        return rf"{left} = \approx {right[0]}"
    return left


def _several(text: str) -> Answer | None:
    r"""A list without brackets: `1, 2 and 3`, `1 or 2`, `3 \pm 1`."""
    # Of ranges, `or` and `and` say different things: x < 1 or x > 2 and x < 3.
    apart = [_CONNECTORS] if _RELATION.search(text) is None else [(c,) for c in _CONNECTORS]
    for separators in apart:
        separated = _without_thousands(text) if "," in separators else text
        pieces = _pieces(separated, separators)
        if len(pieces) > 1:
            used = next(c for c in _CONNECTORS if len(split(separated, c)) > 1)
            return Answer("list", squeezed(text), _read_all(pieces), signs=(used,))
    if not _tolerance(text) and (written := _with_both_signs(text)):
        parts = tuple(read(t.strip().lstrip("+")) for t in written)
        return Answer("list", squeezed(text), parts, signs=(r"\pm",))
    return None


def _pieces(text: str, separators: tuple[str, ...]) -> list[str]:
    pieces = [text]
    for separator in separators:
        pieces = [p for piece in pieces for p in split(piece, separator)]
    return [p for p in pieces if p] if len(separators) > 1 else pieces


def _read_all(pieces: list[str]) -> tuple[Answer, ...]:
    r"""Members; `\pm 1` among them is two."""
    read_in_order = map(read, pieces[: MAX_PARTS + 1])
    return tuple(
        member
        for part in read_in_order
        for member in (part.parts if part.signs == (r"\pm",) else (part,))
    )


def _with_both_signs(text: str) -> list[str]:
    r"""A text with each \pm as plus and as minus; all at once where \mp says that they go together.
    Empty where there is none, or too many."""
    together = r"\mp" in text
    signs = 1 if together else len(_PLUS_OR_MINUS.findall(text))
    if not 1 <= signs <= _MOST_SIGNS or not _PLUS_OR_MINUS.search(text):
        return []
    return [_with_signs(text, chosen) for chosen in product("+-", repeat=signs)]


def _with_signs(text: str, chosen: tuple[str, ...]) -> str:
    """The text with these signs, in turn."""
    signs = cycle(chosen)
    text = _PLUS_OR_MINUS.sub(lambda _: next(signs), text)
    return _MINUS_OR_PLUS.sub("-" if chosen[0] == "+" else "+", text)


def _matrix(text: str) -> Answer | None:
    match = _MATRIX.fullmatch(text) if r"\begin" in text else None
    if match is None or match["env"] in ("vmatrix", "Vmatrix"):
        return None
    scale = match["scale"].strip().rstrip("([").strip()
    rows = [row.split("&") for row in match["rows"].strip().split(r"\\") if row.strip()]
    if match["turned"] and len({len(row) for row in rows}) == 1:
        rows = [list(column) for column in zip(*rows, strict=True)]
    entries = [_single(_scaled(cell.strip(), scale)) for row in rows for cell in row]
    shape = tuple(str(len(row)) for row in rows)
    return Answer("matrix", squeezed(text), tuple(entries[: MAX_PARTS + 1]), signs=shape)


def _scaled(cell: str, scale: str) -> str:
    if scale in ("", "-"):
        return f"{scale}({cell})" if scale else cell
    return f"({scale})({cell})"


def _with_sign(text: str) -> Answer | None:
    """Relations, equations, and the name in front of a value."""
    if signs := _signs(text):
        pieces = _between(text, signs)
        parts = tuple(read(p) for p in pieces[: MAX_PARTS + 1])
        return Answer("relation", squeezed(text), parts, signs=tuple(sign[0] for sign in signs))
    sides = [side.strip() for side in split(text, "=")]
    if len(sides) == 1:
        return None
    if any(form.fullmatch(sides[0]) for form in (_NAME, _NAMED_TUPLE, _RATIO_OF_NAMES)):
        name, sides = sides[0], sides[1:]
    else:
        name = ""
    if len(sides) == 1:
        return replace(read(sides[0]), name=_name(name))
    parts = tuple(read(side) for side in sides[: MAX_PARTS + 1])
    return Answer("equation", squeezed(text), parts, name=_name(name))


def _signs(text: str) -> list[re.Match[str]]:
    """Of relations that stand outside of all brackets: P(X >= 2) = 1/4 is an equation."""
    found = list(_RELATION.finditer(text))
    depths = _depths(text, "([{", ")]}") if found else []
    return [sign for sign in found if depths[sign.start()] == 0]


def _between(text: str, signs: list[re.Match[str]]) -> list[str]:
    starts, ends = [0, *(s.end() for s in signs)], [*(s.start() for s in signs), len(text)]
    return [text[start:end].strip() for start, end in zip(starts, ends, strict=True)]


def _name(text: str) -> str:
    r"""One spelling: x_{1} is x_1, S_{\text{max}} is S_max."""
    return _NAMED_INDEX.sub(lambda m: "_" + _MARKS.sub("", m[0][1:]), squeezed(text))


def _single(text: str) -> Answer:
    """A value or words."""
    if (words := _text_of(text)) is not None:
        return Answer("text", words, tree=_product(text))
    if stated := _tolerance(text):
        value, within = stated
        return replace(_value(value), within=within, rounded=False)
    if (whole := _WHOLE_TEXT.fullmatch(text)) and _RATIO_OF_NUMBERS.fullmatch(whole[1].strip()):
        text = whole[1].strip()
    if _RATIO.fullmatch(text):
        return Answer("ratio", squeezed(text), tuple(_value(p.strip()) for p in text.split(":")))
    return _value(text)


def _text_of(text: str) -> str | None:
    """The words that a text is, None where it is mathematics."""
    if whole := _WHOLE_TEXT.fullmatch(text):
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
    amount = split_unit(_without_thousands(text))
    value, multiplier = amount.value, amount.multiplier
    if whole := _WHOLE_TEXT.fullmatch(value):
        value = _without_thousands(whole[1].strip())
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
    if decimal := _DECIMAL.fullmatch(text):
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


# --- precision that a reference states -----------------------------------------------------------

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


def _tolerance(text: str) -> tuple[str, Fraction] | None:
    """(value, half width) where a text says how exact it is, and the value alone."""
    if approximately := _APPROXIMATELY.fullmatch(text):
        value = approximately[1].strip()
        return value, _last_place(value) / 2
    if (match := _PLUS_MINUS.fullmatch(text)) and _DECIMAL.fullmatch(squeezed(match[1])):
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
    plain = _without_thousands(split_unit(value).value)
    if decimal := _DECIMAL.fullmatch(plain):
        return Fraction(1, 10 ** len(decimal[1]))
    return Fraction(1) if _INTEGER.fullmatch(plain) else Fraction(0)


# --- splitting -----------------------------------------------------------------------------------


def _members(text: str, separators: tuple[str, ...]) -> list[str]:
    return _pieces(text, separators) if text.strip() else []


def _without_thousands(text: str) -> str:
    """1,000 becomes 1000, but in `(100,200)` the comma separates."""
    depths = _separating_depths(text)
    return _THOUSANDS.sub(lambda m: m[0] if depths[m.start()] else m[0].replace(",", ""), text)


def _depths(text: str, opening: str, closing: str) -> list[int]:
    """Of each character: how many brackets stand open around it."""
    return list(accumulate((c in opening) - (c in closing) for c in text))


def _separating_depths(text: str) -> list[int]:
    r"""As _depths, of those in which a comma separates: ( [ \{, not the { of an argument."""
    return _depths(text.replace(r"\{", "((").replace(r"\}", "))"), "([", ")]")


def split(text: str, separator: str) -> list[str]:
    """Pieces between separators that stand outside of all brackets."""
    if separator not in text:
        return [text.strip()]
    pieces, depth, start, position = [], 0, 0, 0
    command = separator.startswith("\\")
    while position < len(text):
        if depth == 0 and text.startswith(separator, position):
            end = position + len(separator)
            if not command or not text[end : end + 1].isalpha():
                pieces.append(text[start:position].strip())
                position = start = end
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
