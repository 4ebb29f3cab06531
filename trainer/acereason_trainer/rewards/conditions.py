r"""What an answer says behind itself of its letters: `k\pi, k \in \mathbb{Z}`, `n^2, n \ge 1`.

A condition may be left out on one side; two that name a set must name the same one, and two bounds
must be the same relation. It is one only where its letter occurs in what stands before it, and
never of a range (x > 1, x \ne 3 is one answer) or of the name that a value has (x = 2, x > 1).
"""

import re

_FOR = (
    r"(?:[\s,(]|(?=\\text))\s*"
    r"(?:\\text\s*\{\s*[,(]?\s*(?:for|where|with)?(?:\s*(?:all|any|every|some|each))?"
)
_KIND = r"((?:(?:positive|natural|real|whole)\s+)?(?:integers?|numbers?|real))"
_IN_SET = re.compile(
    rf"{_FOR}\s*\}}\s*)?\(?\s*([A-Za-z](?: ?, ?[A-Za-z])*)\s*\\in\s*"
    r"(\\mathbb\{[A-Z]\}(?:\s*[_^]\s*(?:\{[^{}]{1,9}\}|[+*0-9]))*|[ZNQR])\s*\)?$"
)
_ALL_OF = re.compile(
    rf"{_FOR}\s*{_KIND}(?:\s*\}}\s*(?P<behind>[A-Za-z])|\s+(?P<inside>[A-Za-z])\s*\}}))\s*\)?$"
)
_IS_ONE = re.compile(
    rf"{_FOR}\s*\}}\s*)?([A-Za-z])\s*\\text\s*\{{\s*is\s+(?:an?\s+|any\s+)*{_KIND}\s*\}}\s*\)?$"
)
_BOUND = re.compile(rf"(?!\s){_FOR}\s*\}}\s*)?(([A-Za-z])\s*(?:<=|>=|<|>|!=)\s*-?\d+)\s*\)?$")
_COMMAND = re.compile(r"\\[A-Za-z]+|\\text\s*\{[^{}]*\}")
_SETS = {
    "integer": r"\mathbb{Z}",
    "whole number": r"\mathbb{Z}",
    "real": r"\mathbb{R}",
    "real number": r"\mathbb{R}",
    "natural number": r"\mathbb{N}",
    "positive integer": r"\mathbb{N}",
}


def split_condition(text: str) -> tuple[str, str, str]:
    """(what is said without its condition, the set that this names or "", the bound that it is or
    "") of a normal form."""
    bound = ""
    if found := _IN_SET.search(text):
        letters, written = found[1], found[2].replace(" ", "")
        named = rf"\mathbb{{{written}}}" if len(written) == 1 else written
    elif found := _ALL_OF.search(text):
        letters, named = found["behind"] or found["inside"], _set(found[1])
    elif found := _IS_ONE.search(text):
        letters, named = found[1], _set(found[2])
    elif found := _BOUND.search(text):
        bound, letters, named = found[1], found[2], ""
    else:
        return text, "", ""
    value = text[: found.start()].rstrip(" ,(")
    if not _speaks_of(letters, value, bound=bool(bound)):
        return text, "", ""
    return value, named, bound


def _set(words: str) -> str:
    kind = " ".join(words.split()).removesuffix("s")
    return _SETS.get(kind, kind)


def _speaks_of(letters: str, value: str, *, bound: bool) -> bool:
    """Whether the letters occur in a value, which is no range and, beside a bound, no equation of
    which they are the unknown."""
    if re.search(r"[<>]|!=|\\in(?![A-Za-z])", value):
        return False
    name, sign, _ = value.partition("=")
    bare = _COMMAND.sub(" ", value)
    all_there = all(letter in bare for letter in re.findall("[A-Za-z]", letters))
    if not sign:
        return all_there
    named = re.fullmatch(r"\s*[A-Za-z](?:_\{?|\()\s*([A-Za-z])\s*[})]?\s*", name)
    if bound:
        return all_there and named is not None
    return all_there and name.strip() not in re.findall("[A-Za-z]", letters)
