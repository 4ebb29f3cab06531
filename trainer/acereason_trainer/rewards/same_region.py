"""Whether two answers are the same set of real numbers, however each writes it (region.py)."""

from acereason_trainer.rewards.answer import MAX_PARTS, Answer, Same
from acereason_trainer.rewards.region import Piece, Region, is_empty, merged, region, variable


def are_regions(answer: Answer, reference: Answer) -> bool:
    """Whether one is clearly a set of real numbers and the other can be read as one: of two
    numbers in round brackets, (3,1) can only be a point."""
    if answer.kind == reference.kind == "relation":
        return variable(answer) is not None and variable(reference) is not None
    clear = [_is_region(a) for a in (answer, reference)]
    return any(clear) and all(map(_can_be_region, (answer, reference)))


def same_region(answer: Answer, reference: Answer, same: Same) -> bool | None:
    """Whether they are the same; None where one of them is not read as a set of real numbers."""
    if len({v for v in (variable(answer), variable(reference)) if v}) > 1:
        return False
    got, want = region(answer), region(reference)
    if got is None or want is None:
        return None
    exact_got, exact_want = merged(got), merged(want)
    if () in (exact_got, exact_want):
        return False  # a contradiction is no answer, and would be equal to every other one
    return (exact_got is not None and exact_got == exact_want) or _same_pieces(got, want, same)


def _can_be_region(answer: Answer) -> bool:
    if answer.kind != "tuple":
        return _is_region(answer)
    pieces = region(answer)
    return pieces is not None and not any(map(is_empty, pieces))


def _is_region(answer: Answer) -> bool:
    if answer.kind == "list":
        unknown = variable(answer)
        return unknown is not None and all(
            part.kind == "relation"
            or (part.kind == "one" and part.name == unknown)
            or (_can_be_region(part) and part.element == unknown)
            for part in answer.parts
        )
    return answer.kind in ("interval", "union", "relation", "without")


def _same_pieces(got: Region, want: Region, same: Same) -> bool:
    if len(got) != len(want) or len(got) > MAX_PARTS:
        return False
    left = list(got)
    for piece in want:
        found = next((p for p in left if _same_piece(p, piece, same)), None)
        if found is None:
            return False
        left.remove(found)
    return True


def _same_piece(a: Piece, b: Piece, same: Same) -> bool:
    return (
        (a.low_in, a.high_in) == (b.low_in, b.high_in)
        and same(a.low, b.low, None)
        and same(a.high, b.high, None)
    )
