r"""What kind of thing an answer is: a number, a list, a set, a pair, an interval, words.

Reading is one pass from the outside in. It decides nothing about equality (math.py does).
"""

import re
from dataclasses import replace
from itertools import cycle, product

from acereason_trainer.rewards.answer import MAX_PARTS, OTHERWISE, Answer
from acereason_trainer.rewards.latex import MAX_DEPTH
from acereason_trainer.rewards.normal_form import squeezed
from acereason_trainer.rewards.separators import (
    closes_at_end,
    depths,
    members,
    pieces,
    split,
    without_thousands,
)
from acereason_trainer.rewards.stated_precision import stated_precision
from acereason_trainer.rewards.value import WHOLE_TEXT, single

_MOST_SIGNS = 4
"""Of plus or minus in one expression: sixteen values."""
_CONNECTORS = (r"\or", r"\and", ",")
"""Of a list; of several in one, the first of these says what the list is."""


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
_ONE_OR_SEVERAL = re.compile(r"-?\d{1,3}(?:,\d{3})+")
_CONNECTED = re.compile(r"\\(?:or|and)(?![A-Za-z])|[,=]")

_ALL_REALS = (r"\text{all real numbers}", "all real numbers", r"\text{all reals}", "all reals")
_REALS = r"(-\infty,\infty)"


def read(text: str) -> Answer:
    """The structure of a normal form."""
    if max(depths(text, "([{", ")]}"), default=0) > MAX_DEPTH:
        return Answer("one", squeezed(text))
    if _CHOICES_IN_A_ROW.fullmatch(text):
        return _unlabelled(",".join(re.findall("[A-J]", text)))
    whole = WHOLE_TEXT.fullmatch(text)
    labelled = _LABELLED.fullmatch(whole[1].strip() if whole else text)
    # With another label behind it, a label does not say what the answer is.
    if labelled is None or _FURTHER_LABEL.search(labelled[5]):
        return _unlabelled(text)
    letter = next(g for g in labelled.groups()[:4] if g)
    rest = rf"\text{{{labelled[5]}}}" if whole else labelled[5]
    return replace(_unlabelled(rest), label=letter.casefold())


def _unlabelled(text: str) -> Answer:
    if (whole := WHOLE_TEXT.fullmatch(text)) and _CONNECTED.search(whole[1]):
        text = whole[1].strip()
    while text.startswith("{") and closes_at_end(text):
        text = text[1:-1].strip()
    text = _exact_side(text)
    found = _cases(text) or _reals(text) or _bracketed(text) or _several(text) or _with_sign(text)
    return found or _matrix(text) or single(text)


def as_several(answer: Answer) -> Answer | None:
    """`100,200` read as two numbers instead of as one; None for anything else, `1,000` too, since
    no number is written as 000."""
    if answer.kind != "one" or not _ONE_OR_SEVERAL.fullmatch(answer.text) or ",0" in answer.text:
        return None
    return Answer("list", answer.text, tuple(single(t) for t in answer.text.split(",")))


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
    whole = WHOLE_TEXT.fullmatch(text)
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
    return not any(map(_STATES.search, pieces(rest, _CONNECTORS)[1:]))


def _bracketed(text: str) -> Answer | None:
    text = _TRANSPOSED.sub("", text) if text.startswith("(") else text
    if text.startswith(r"\{") and text.endswith(r"\}") and closes_at_end(text[1:]):
        return Answer("set", squeezed(text), _read_all(members(text[2:-2], _CONNECTORS)))
    if text[:1] in ("(", "[") and text[-1:] in (")", "]") and closes_at_end(text):
        within = members(text[1:-1], (",",))
        if len(within) < 2:
            return None
        if text[0] == "(" and (written := _with_both_signs(text)):
            return Answer("list", squeezed(text), tuple(map(read, written)), signs=(r"\pm",))
        parts = tuple(map(read, within[: MAX_PARTS + 1]))
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
        separated = without_thousands(text) if "," in separators else text
        listed = pieces(separated, separators)
        if len(listed) > 1:
            used = next(c for c in _CONNECTORS if len(split(separated, c)) > 1)
            return Answer("list", squeezed(text), _read_all(listed), signs=(used,))
    if not stated_precision(text) and (written := _with_both_signs(text)):
        parts = tuple(read(t.strip().lstrip("+")) for t in written)
        return Answer("list", squeezed(text), parts, signs=(r"\pm",))
    return None


def _read_all(listed: list[str]) -> tuple[Answer, ...]:
    r"""Members; `\pm 1` among them is two."""
    read_in_order = map(read, listed[: MAX_PARTS + 1])
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
    entries = [single(_scaled(cell.strip(), scale)) for row in rows for cell in row]
    shape = tuple(str(len(row)) for row in rows)
    return Answer("matrix", squeezed(text), tuple(entries[: MAX_PARTS + 1]), signs=shape)


def _scaled(cell: str, scale: str) -> str:
    if scale in ("", "-"):
        return f"{scale}({cell})" if scale else cell
    return f"({scale})({cell})"


def _with_sign(text: str) -> Answer | None:
    """Relations, equations, and the name in front of a value."""
    if signs := _signs(text):
        sides = _between(text, signs)
        parts = tuple(read(side) for side in sides[: MAX_PARTS + 1])
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
    around = depths(text, "([{", ")]}") if found else []
    return [sign for sign in found if around[sign.start()] == 0]


def _between(text: str, signs: list[re.Match[str]]) -> list[str]:
    starts, ends = [0, *(s.end() for s in signs)], [*(s.start() for s in signs), len(text)]
    return [text[start:end].strip() for start, end in zip(starts, ends, strict=True)]


def _name(text: str) -> str:
    r"""One spelling: x_{1} is x_1, S_{\text{max}} is S_max."""
    return _NAMED_INDEX.sub(lambda m: "_" + _MARKS.sub("", m[0][1:]), squeezed(text))
