"""Whether two values are equal, by rational arithmetic: in microseconds, or not at all."""

from fractions import Fraction
from functools import lru_cache

from acereason_trainer.rewards.answer import MAX_PARTS
from acereason_trainer.rewards.latex import Node, TooLarge
from acereason_trainer.rewards.normal_form import squeezed
from acereason_trainer.rewards.rational import infinite, rational

_TOO_LARGE = "too large"


class Undecided(Exception):
    """Rational arithmetic does not decide this pair."""


def exactly_same(answer: Node, reference: Node, within: Fraction | None) -> bool:
    """Whether they are equal, or no more than `within` apart. Raises Undecided."""
    if answer == reference or _as_written(answer) == _as_written(reference) != "":
        return True
    if (sign := infinite(reference)) is not None or infinite(answer) is not None:
        return infinite(answer) == sign
    left, right = exact_value(answer), exact_value(reference)
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left == right or (within is not None and abs(left - right) <= within)
    if _TOO_LARGE in (left, right) and (isinstance(left, Fraction) or isinstance(right, Fraction)):
        return False
    raise Undecided


@lru_cache(maxsize=4 * MAX_PARTS)  # members of a list are each compared with all of another
def exact_value(tree: Node) -> Fraction | str | None:
    """Its value, None where it is not rational, or that it is too large to be computed here."""
    try:
        return rational(tree)
    except TooLarge:
        return _TOO_LARGE


def _as_written(tree: Node) -> str:
    """What only the larger parser reads, as text; it takes a tenth of a second for some."""
    return squeezed(tree[1]) if tree[0] == "latex" else ""
