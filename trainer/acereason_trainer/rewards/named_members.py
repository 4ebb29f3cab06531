"""Members of a list that have names of their own: `x = 5, y = 3` beside (5, 3)."""

import re
from dataclasses import replace

from acereason_trainer.rewards.answer import Answer

_INDEX = re.compile(r"_\d+|'+")


def says_which_is_which(listed: Answer) -> bool:
    """Whether each member has a name of its own, as in `x = 3, y = 4`: then a bare list is asked
    for in this order. Numbers behind one letter (x_1, x_2) only count the values."""
    letters = {_INDEX.sub("", part.name) for part in listed.parts}
    return "" not in letters and len(letters) == len(listed.parts) and listed.signs != (r"\or",)


def named(listed: Answer) -> bool:
    """Whether any member has a name."""
    return any(part.name for part in listed.parts)


def by_name(listed: Answer) -> Answer:
    """`y = 3, x = 5` for a pair: in the order of the names."""
    parts = listed.parts
    if all(part.name for part in parts):
        parts = tuple(sorted(parts, key=lambda part: part.name))
    return ordered(replace(listed, parts=parts))


def groups_by_name(answer: Answer, reference: Answer) -> tuple[Answer, Answer]:
    """`p = 5, q = 2, p = 7, q = 2` as pairs (5, 2), (7, 2), where the other side lists pairs or
    names too."""
    got, want = _groups(answer), _groups(reference)
    if got and want:
        return _as_tuples(answer, _in_order_of_names(got)), _as_tuples(
            reference, _in_order_of_names(want)
        )
    if got and _are_tuples(reference):
        return _as_tuples(answer, _in_order_of_names(got)), reference
    if want and _are_tuples(answer):
        return answer, _as_tuples(reference, want)
    return answer, reference


def _in_order_of_names(groups: list[tuple[Answer, ...]]) -> list[tuple[Answer, ...]]:
    return [tuple(sorted(parts, key=lambda part: part.name)) for parts in groups]


def _groups(listed: Answer) -> list[tuple[Answer, ...]]:
    """Members under each round of names; empty where the names do not come in rounds."""
    names = [part.name for part in listed.parts]
    size = len(dict.fromkeys(names))
    if "" in names or size in (1, len(names)) or names != names[:size] * (len(names) // size):
        return []
    return [listed.parts[i : i + size] for i in range(0, len(names), size)]


def _as_tuples(listed: Answer, groups: list[tuple[Answer, ...]]) -> Answer:
    tuples = (Answer("tuple", ",".join(p.text for p in parts), parts) for parts in groups)
    return replace(listed, parts=tuple(tuples))


def _are_tuples(listed: Answer) -> bool:
    """Pairs without names, or (x, y) = (1, 2)."""
    return all(part.kind == "tuple" and part.name[:1] in ("", "(") for part in listed.parts)


def ordered(several: Answer) -> Answer:
    """The same members as a tuple."""
    return replace(several, kind="tuple", signs=())
