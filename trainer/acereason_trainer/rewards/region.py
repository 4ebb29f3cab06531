r"""Sets of real numbers, however they are written: [1,2) is 1 <= x < 2, x \ne 0 is two rays.

Where all ends are rational (or infinite), pieces are merged exactly, so that [0,1] with (1,2] is
[0,2]. Other ends are compared piece by piece.
"""

from dataclasses import dataclass
from fractions import Fraction

from acereason_trainer.rewards.answer import MAX_PARTS, Answer
from acereason_trainer.rewards.latex import Node
from acereason_trainer.rewards.rational import infinite, rational

End = Fraction | float
"""A rational number, or minus or plus infinity as a float."""


@dataclass(frozen=True)
class Piece:
    """What lies between two ends."""

    low: Node
    low_in: bool
    high: Node
    high_in: bool


Region = tuple[Piece, ...]
Merged = tuple[tuple[End, bool, End, bool], ...]

_MAX_CROSSED = 4 * MAX_PARTS
"""Pairs of pieces that are looked at for what they have in common, for each further condition."""
_MINUS: Node = ("negate", ("constant", "oo"))
_PLUS: Node = ("constant", "oo")
_COMPLEX = ("z", "w")
_TURNED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!="}


def region(answer: Answer) -> Region | None:  # noqa: PLR0911 - one for each form
    """The set of real numbers that an answer writes down; None where it is not read as one."""
    if answer.kind == "interval" or (answer.kind == "tuple" and len(answer.parts) == 2):
        return _between(answer)
    if answer.kind == "relation":
        return _of_relation(answer)
    if answer.kind == "one" and answer.name and answer.tree:  # x = 0, or x > 1
        return (_at(answer.tree),)
    if answer.kind == "set":
        trees = [part.tree for part in answer.parts]
        return tuple(_at(t) for t in trees if t) if all(trees) else None
    if answer.kind == "without":
        whole, holes = region(answer.parts[0]), region(answer.parts[1])
        return None if whole is None or holes is None else _without(whole, holes)
    if answer.kind not in ("union", "list"):
        return None
    pieces = [region(part) for part in answer.parts]
    known = [p for p in pieces if p is not None]
    if len(known) != len(pieces):
        return None
    if answer.kind == "union" or answer.signs == (r"\or",):
        return tuple(piece for p in known for piece in p)
    return _all_of(known, alternatives=answer.signs == (",",))


def merged(pieces: Region) -> Merged | None:
    """The same set with as few pieces as it needs, in order; None where an end is not rational."""
    spans = []
    for piece in pieces:
        low, high = _end(piece.low), _end(piece.high)
        if low is None or high is None:
            return None
        low_in = piece.low_in and not isinstance(low, float)
        high_in = piece.high_in and not isinstance(high, float)
        if low < high or (low == high and low_in and high_in):
            spans.append((low, low_in, high, high_in))
    spans.sort(key=lambda span: (span[0], not span[1]))
    joined: list[tuple[End, bool, End, bool]] = []
    for span in spans:
        if joined and _touch(joined[-1], span):
            joined[-1] = _joined(joined[-1], span)
        else:
            joined.append(span)
    return tuple(joined)


def variable(answer: Answer) -> str | None:
    """The unknown of a relation, what is in a set, or that of the first one inside."""
    if answer.kind == "relation":
        unknown = _unknown(answer)
        return unknown[2] if unknown else None
    if answer.element:
        return answer.element
    return next((v for part in answer.parts if (v := variable(part))), None)


def _between(answer: Answer) -> Region | None:
    low, high = (part.tree for part in answer.parts)
    if low is None or high is None:
        return None
    opening, closing = answer.signs or "()"
    return (Piece(low, opening == "[", high, closing == "]"),)


def _unknown(relation: Answer) -> tuple[int, str, str] | None:
    """Where the unknown of a relation stands, as what (`symbol`, `negate`, `abs`: x, -x, |x|), and
    its name. -a is one only where no x stands beside it.

    |z| may be of a complex number, for which a ring is not two intervals.
    """
    trees = list(enumerate(part.tree for part in relation.parts))
    plain = [(i, t[0], t[1]) for i, t in trees if t and t[0] == "symbol"]
    within = [
        (i, t[0], t[1][1])
        for i, t in trees
        if t and t[0] in ("negate", "abs") and t[1][0] == "symbol"
    ]
    found = plain or [u for u in within if u[1] == "negate" or u[2] not in _COMPLEX]
    return found[0] if len(found) == 1 else None


def _of_relation(answer: Answer) -> Region | None:
    trees = [part.tree for part in answer.parts]
    unknown, signs = _unknown(answer), answer.signs
    if any(tree is None for tree in trees) or unknown is None or len(trees) not in (2, 3):
        return None
    place, form, _ = unknown
    if len(trees) == 3:
        if place != 1:
            return None
        sides = [_side(_TURNED[signs[0]], trees[0]), _side(signs[1], trees[2])]
        found: Region | None = _all_of(sides, alternatives=False)
    else:
        found = _side(signs[0] if place == 0 else _TURNED[signs[0]], trees[1 - place])
    if found is None or form == "symbol":
        return found
    if form == "negate":
        return _mirrored(found)
    positive = _all_of([found, _side(">=", ("number", Fraction(0)))], alternatives=False)
    return None if positive is None else (*_mirrored(positive), *positive)


def _mirrored(pieces: Region) -> Region:
    """The same set on the other side of zero."""
    return tuple(
        Piece(_negated(p.high), p.high_in, _negated(p.low), p.low_in) for p in reversed(pieces)
    )


def _negated(tree: Node) -> Node:
    return tree[1] if tree[0] == "negate" else ("negate", tree)


def _side(sign: str, end: Node | None) -> Region:
    assert end is not None
    if sign in ("<", "<="):
        return (Piece(_MINUS, low_in=False, high=end, high_in=sign == "<="),)
    if sign in (">", ">="):
        return (Piece(end, low_in=sign == ">=", high=_PLUS, high_in=False),)
    return (*_side("<", end), *_side(">", end))


def _at(point: Node) -> Piece:
    return Piece(point, low_in=True, high=point, high_in=True)


def _all_of(regions: list[Region], alternatives: bool) -> Region | None:
    """What lies in all of them; with `alternatives`, what lies in any where nothing lies in all."""
    common = regions[0]
    for other in regions[1:]:
        if len(common) * len(other) > _MAX_CROSSED:
            return None
        crossed = [_crossed(a, b) for a in common for b in other]
        if any(piece is None for piece in crossed):
            return None
        common = tuple(piece for piece in crossed if piece and not is_empty(piece))
    if alternatives and not common:
        return tuple(piece for r in regions for piece in r)
    return common


def _crossed(a: Piece, b: Piece) -> Piece | None:
    """What two pieces have in common; None where their ends cannot be put in order."""
    a_is_lower = _order(a.low, b.low)
    a_is_higher = _order(b.high, a.high)
    if a_is_lower is None or a_is_higher is None:
        return None
    low = (b.low, b.low_in) if a_is_lower < 0 else (a.low, a.low_in)
    high = (b.high, b.high_in) if a_is_higher < 0 else (a.high, a.high_in)
    if a_is_lower == 0:
        low = (a.low, a.low_in and b.low_in)
    if a_is_higher == 0:
        high = (a.high, a.high_in and b.high_in)
    return Piece(low[0], low[1], high[0], high[1])


def is_empty(piece: Piece) -> bool:
    """Whether its ends are known to leave nothing between them."""
    order = _order(piece.low, piece.high)
    return order == 1 or (order == 0 and not (piece.low_in and piece.high_in))


def _order(a: Node, b: Node) -> int | None:
    """-1, 0 or 1 as a is less than, equal to or greater than b."""
    if a == b:
        return 0
    if infinite(a) == -1 or infinite(b) == 1:
        return -1
    if infinite(a) == 1 or infinite(b) == -1:
        return 1
    left, right = rational(a), rational(b)
    if left is None or right is None:
        return None
    return (left > right) - (left < right)


def _without(whole: Region, holes: Region) -> Region | None:
    """The whole but for single points."""
    if any(hole.low != hole.high for hole in holes):
        return None
    rays = [_side("!=", hole.low) for hole in holes]
    return _all_of([whole, *rays], alternatives=False)


def _end(tree: Node) -> End | None:
    if (sign := infinite(tree)) is not None:
        return sign * float("inf")
    return rational(tree)


def _touch(a: tuple[End, bool, End, bool], b: tuple[End, bool, End, bool]) -> bool:
    return b[0] < a[2] or (b[0] == a[2] and (a[3] or b[1]))


def _joined(
    a: tuple[End, bool, End, bool], b: tuple[End, bool, End, bool]
) -> tuple[End, bool, End, bool]:
    if a[2] == b[2]:
        high, high_in = a[2], a[3] or b[3]
    else:
        _, high, high_in = max((a[2] > b[2], a[2], a[3]), (b[2] > a[2], b[2], b[3]))
    return (a[0], a[1] or (a[0] == b[0] and b[1]), high, high_in)
