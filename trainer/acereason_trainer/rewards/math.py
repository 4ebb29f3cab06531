r"""Whether two answers to a math problem are the same.

Text is brought to a normal form (normal_form.py), read (reading.py) and compared part by part:
exactly, by rational arithmetic (exact.py). That decides most answers in microseconds and cannot
hang. Only where two expressions are not rational does it need numbers with many digits, which are
asked of `same` (symbolic.py, in a process that can be killed).

The reference's form decides what is asked for: ordered or not, how many answers, which unit, how
exact. So a shotgun list never matches one number, 0.333 is not 1/3, and 0.5 is not 50 %; nor is
50 % the answer to a reference 0.5, whose form says that no percentage was asked for.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from acereason_trainer.rewards.answer import MAX_PARTS, OTHERWISE, Answer, Same
from acereason_trainer.rewards.conditions import split_condition
from acereason_trainer.rewards.exact import exact_value
from acereason_trainer.rewards.latex import Node, Unreadable, nodes
from acereason_trainer.rewards.named_members import (
    by_name,
    groups_by_name,
    named,
    ordered,
    says_which_is_which,
)
from acereason_trainer.rewards.normal_form import MAX_CHARACTERS, normal_form, squeezed
from acereason_trainer.rewards.reading import as_several, read
from acereason_trainer.rewards.same_region import are_regions, same_region
from acereason_trainer.rewards.tasks import is_known, tasks
from acereason_trainer.rewards.units import erased_units

_DERIVATIVE = re.compile(
    r"\\frac\s*(?:\{\s*d\s*\}|d|\{\s*d\s*\^|\{\s*\\partial)(?=.*?\}?\s*(?:d|\\partial)\s*[a-z])"
)
_LETTER = re.compile(r"\(?([^\W\d_])\)?")
_SIGNS_OF_PRODUCT = re.compile(r"\\(?:cdot|times)|[*{}() ]")
_TIME = re.compile(r"\d{1,2}:[0-5]\d")
_TWO = 2
_NOTHING = Answer("text", "empty set")


def is_same_answer(answer: str, reference: str, same: Same) -> bool:
    """Whether `answer` is the reference. What `same` raises comes through."""
    if len(answer) > MAX_CHARACTERS or len(reference) > MAX_CHARACTERS:
        return answer.strip() == reference.strip()
    if _in_other_units(answer, reference):
        return False
    got, want = normal_form(answer), normal_form(reference)
    if squeezed(got) == squeezed(want):
        return bool(got)
    got, own_set, own_bound = split_condition(got)
    want, wanted_set, wanted_bound = split_condition(want)
    if (own_set and wanted_set and own_set != wanted_set) or (
        _DERIVATIVE.search(got) and not _DERIVATIVE.search(want)
    ):
        return False
    try:
        return _same_bound(own_bound, wanted_bound, same) and (
            squeezed(got) == squeezed(want) or _asked(read(got), read(want), same)
        )
    except Unreadable:
        return False


def _same_bound(answer: str, reference: str, same: Same) -> bool:
    return not (answer and reference) or _same(read(answer), read(reference), same)


def _in_other_units(answer: str, reference: str) -> bool:
    said = erased_units(reference)
    return bool(said and (other := erased_units(answer)) and said.isdisjoint(other))


def _asked(answer: Answer, reference: Answer, same: Same) -> bool:
    """Whether they are the same, and the answer is the result of what the reference asks for."""
    asserted = answer
    if answer.kind == "equation" and not reference.name and is_known(reference):
        asserted = _last_side(answer)
    if tasks(asserted) - tasks(reference):
        return False
    return _same(answer, reference, same)


def _same(answer: Answer, reference: Answer, same: Same) -> bool:
    if answer.label or reference.label or (_letter(reference) and reference.kind == "text"):
        return _same_choice(answer, reference, same)
    answer, reference = _in_one_form(answer, reference, same)
    if answer.name and reference.name and answer.name != reference.name:
        return False
    if answer.kind == "equation" != reference.kind:
        return _same_chain(answer, reference, same)
    if are_regions(answer, reference):
        found = same_region(answer, reference, same)
        if found is not None:
            return found
    return answer.kind == reference.kind and _COMPARE[reference.kind](answer, reference, same)


def _same_choice(answer: Answer, reference: Answer, same: Same) -> bool:
    """`(B) 42`: the letter where the reference is one or has one, else what it stands for."""
    wanted, offered = reference.label or _letter(reference), answer.label or _letter(answer)
    if wanted and offered:
        return wanted == offered
    if not (answer.label or reference.label):
        return False
    return _same(replace(answer, label=""), replace(reference, label=""), same)


def _letter(answer: Answer) -> str:
    letter = _LETTER.fullmatch(answer.text)
    return letter[1].casefold() if letter else ""


# --- the reference's form ------------------------------------------------------------------------


def _in_one_form(answer: Answer, reference: Answer, same: Same) -> tuple[Answer, Answer]:  # noqa: PLR0911, PLR0912
    """Both, read as the same kind of thing where one text can be read in two ways."""
    match answer.kind, reference.kind:
        case "equation", "equation":
            return answer, reference
        case "equation", _ if reference.name and not answer.name:
            return answer, _as_equation(reference)
        case _, "equation" if reference.name:
            return answer, replace(reference.parts[-1], name=reference.name)
        case _, "equation" if answer.name:
            return _as_equation(answer), reference
        case "one", "list" | "set" | "tuple" if (several := as_several(answer)) is not None:
            return several, reference
        case "list" | "set", "one" if (several := as_several(reference)) is not None:
            return answer, several
        case "list" | "set", kind if kind not in ("list", "set") and (
            member := _only_member(answer, same)
        ):
            return replace(member, name=answer.name or member.name), reference
        case kind, "list" | "set" if kind not in ("list", "set") and (
            member := _only_member(reference, same)
        ):
            return answer, replace(member, name=reference.name or member.name)
        case "list" | "set", "list" if says_which_is_which(reference) and not named(answer):
            return ordered(answer), ordered(reference)
        case "list", "set":
            return replace(answer, kind="set"), reference
        case "set", "list":
            return answer, replace(reference, kind="set")
        case ("list", "tuple") | ("tuple", "list") if are_regions(answer, reference):
            return answer, reference
        case "list", "tuple" if answer.signs != (r"\or",):
            return by_name(answer), reference
        case "tuple", "list" if reference.signs != (r"\or",):
            return answer, ordered(reference)
        case "list", "list":
            return groups_by_name(answer, reference)
        case "tuple", "matrix" if _is_vector(reference):
            return answer, ordered(reference)
        case "matrix", "tuple" if _is_vector(answer):
            return ordered(answer), reference
        case "text", "one" if answer.tree is not None:
            return replace(answer, kind="one"), reference
        case "one", "text" if reference.tree is not None and _spells(answer, reference.text):
            return answer, replace(reference, kind="one")
        case "ratio", "one" if len(answer.parts) == _TWO:
            return _quotient(answer), reference
        case "one", "ratio" if len(reference.parts) == _TWO and not _TIME.fullmatch(reference.text):
            return answer, _quotient(reference)
    return answer, reference


def _spells(answer: Answer, word: str) -> bool:
    """Whether a product has its letters in the order of a word: of a bare word nobody knows
    whether it is a product."""
    return _SIGNS_OF_PRODUCT.sub("", answer.text).casefold() == word


def _quotient(ratio: Answer) -> Answer:
    """`3:4` as 3/4."""
    first, second = (part.tree for part in ratio.parts)
    known = first is not None and second is not None
    return replace(ratio, kind="one", parts=(), tree=("divide", first, second) if known else None)


def _only_member(several: Answer, same: Same) -> Answer | None:
    """Of a set or list that has no other: a single root, a double one, 1/4 or 0.25."""
    first, *others = several.parts[: MAX_PARTS + 1] or [_NOTHING]
    if first.text == _NOTHING.text or len(others) >= MAX_PARTS:
        return None
    exactly = replace(first, within=None)
    return first if all(_same(other, exactly, same) for other in others) else None


def _is_vector(matrix: Answer) -> bool:
    return len(matrix.signs) == 1 or set(matrix.signs) == {"1"}


def _as_equation(assigned: Answer) -> Answer:
    """`y = 2x + 1` read as an equation instead of as the value of y."""
    if assigned.kind != "one":
        return assigned
    return Answer("equation", assigned.text, (read(assigned.name), replace(assigned, name="")))


# --- comparing -----------------------------------------------------------------------------------


def _same_chain(chain: Answer, reference: Answer, same: Same) -> bool:
    """`2 + 3 = 5` for a reference that is one value: every side must be it, but for what is called
    by it (m + n = 5, or 5 = x) and for tasks whose result follows."""
    sides = chain.parts
    if is_known(reference):
        if not chain.name and not is_known(sides[0]):
            sides = sides[1:]
        elif not chain.name and not is_known(sides[-1]):
            sides = sides[:-1]
        sides = (*(side for side in sides[:-1] if not tasks(side)), sides[-1])
    return len(sides) <= MAX_PARTS and all(_same(side, reference, same) for side in sides)


def _last_side(chain: Answer) -> Answer:
    """The side that a chain of equations ends in, which is what it says."""
    return chain.parts[-1 if is_known(chain.parts[-1]) else 0]


def _same_value(answer: Answer, reference: Answer, same: Same) -> bool:
    if answer.tree is None or reference.tree is None:
        return False
    if _same_unit(answer, reference):
        exact = reference.rounded and _is_finite_fraction(answer.tree)
        if same(answer.tree, reference.tree, None if exact else reference.within):
            return True
    return _same_formula(answer, reference, same)


def _same_unit(answer: Answer, reference: Answer) -> bool:
    """A unit may be left out, unless it may as well be an unknown of the reference."""
    if (answer.unit and reference.unit) or reference.may_be_letters:
        return answer.unit == reference.unit
    return True


def _same_formula(answer: Answer, reference: Answer, same: Same) -> bool:
    r"""Whether they are equal with the letters of a unit read as unknowns: `2 h` is `h \cdot 2`."""
    if answer.unit == reference.unit or not (answer.formula or reference.formula):
        return False
    got, want = answer.formula or answer.tree, reference.formula or reference.tree
    if got is None or want is None or not (_unknowns(got) == _unknowns(want) != set()):
        return False
    return same(got, want, None)


def _unknowns(tree: Node) -> set[str]:
    return {node[1] for node in nodes(tree) if node[0] == "symbol"}


def _is_finite_fraction(tree: Node) -> bool:
    """Whether it is a fraction such as 63/250: nobody would have rounded that to 0.25 (0.252)."""
    value = exact_value(tree) if any(node[0] == "divide" for node in nodes(tree)) else None
    if not isinstance(value, Fraction):
        return False
    bottom = value.denominator
    return bool(10 ** bottom.bit_length() % bottom == 0)


def _same_words(answer: Answer, reference: Answer, same: Same) -> bool:
    """Not as products of their letters: hth and BADC are orders of things."""
    return answer.text == reference.text


def _in_order(answer: Answer, reference: Answer, same: Same) -> bool:
    if len(answer.parts) != len(reference.parts) or len(answer.parts) > MAX_PARTS:
        return False
    if answer.signs != reference.signs:
        return False
    return all(_same(a, r, same) for a, r in zip(answer.parts, reference.parts, strict=True))


def _same_ratio(answer: Answer, reference: Answer, same: Same) -> bool:
    """Up to a common factor, but where the reference may be a time of day."""
    if _in_order(answer, reference, same):
        return True
    parts = answer.parts, reference.parts
    if _TIME.fullmatch(reference.text) or len(parts[0]) != len(parts[1]):
        return False
    if any(part.tree is None or part.unit for side in parts for part in side):
        return False
    (first, *others), (wanted, *all_wanted) = parts
    return all(
        same(("divide", a.tree, first.tree), ("divide", b.tree, wanted.tree), None)
        for a, b in zip(others, all_wanted, strict=True)
    )


def _in_any_order(answer: Answer, reference: Answer, same: Same) -> bool:
    """As often as on the other side, but the longer side may say one thing twice."""
    got, want = list(answer.parts), list(reference.parts)
    if max(len(got), len(want)) > MAX_PARTS:
        return False
    if len(got) > len(want):
        got = _different(got, same)
    elif len(want) > len(got):
        want = _different(want, same)
    if len(got) != len(want):
        return False
    for wanted in want:
        found = next((n for n, a in enumerate(got) if _same(a, wanted, same)), None)
        if found is None:
            return False
        del got[found]
    return True


def _same_cases(answer: Answer, reference: Answer, same: Same) -> bool:
    """In any order; `otherwise` on one side is whatever condition is left over on the other."""
    if _in_any_order(answer, reference, same):
        return True
    got, want = list(answer.parts), list(reference.parts)
    if len(got) != len(want) or len(got) > MAX_PARTS or sum(map(_is_rest, got + want)) != 1:
        return False
    left: list[Answer] = []
    for wanted in want:
        found = next((n for n, case in enumerate(got) if _same(case, wanted, same)), None)
        if found is not None:
            del got[found]
        elif left:
            return False
        else:
            left.append(wanted)
    (case,), (wanted,) = got, left
    return (_is_rest(case) or _is_rest(wanted)) and _same(case.parts[0], wanted.parts[0], same)


def _is_rest(case: Answer) -> bool:
    return case.parts[1].text == OTHERWISE


def _different(members: list[Answer], same: Same) -> list[Answer]:
    kept: list[Answer] = []
    for member in members:
        exactly = replace(member, within=None)
        if not any(_same(other, exactly, same) for other in kept):
            kept.append(member)
    return kept


_TURNED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!="}


def _same_relation(answer: Answer, reference: Answer, same: Same) -> bool:
    if answer.signs == reference.signs and _in_order(answer, reference, same):
        return True
    signs = tuple(_TURNED[sign] for sign in reversed(answer.signs))
    turned = replace(answer, parts=answer.parts[::-1], signs=signs)
    return signs == reference.signs and _in_order(turned, reference, same)


def _same_equation(answer: Answer, reference: Answer, same: Same) -> bool:
    """Both say that some expression is zero; the two expressions may differ by a factor."""
    got, want = _zero_side(answer), _zero_side(reference)
    if got is None or want is None:
        return False
    return same(("proportional", got), ("proportional", want), None)


def _zero_side(equation: Answer) -> Node | None:
    if equation.name or len(equation.parts) != 2:
        return None
    left, right = (part.tree for part in equation.parts)
    return None if left is None or right is None else ("subtract", left, right)


_COMPARE: dict[str, Callable[[Answer, Answer, Same], bool]] = {
    "one": _same_value,
    "text": _same_words,
    "list": _in_any_order,
    "set": _in_any_order,
    "union": _in_any_order,
    "tuple": _in_order,
    "interval": _in_order,
    "matrix": _in_order,
    "ratio": _same_ratio,
    "cases": _same_cases,
    "without": _in_order,
    "relation": _same_relation,
    "equation": _same_equation,
}
