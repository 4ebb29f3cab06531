r"""What an answer is, once it is read (reading.py): its kind, its parts, and what only one side may
carry: the name of `x = 5`, a unit, a choice letter, a written precision.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from acereason_trainer.rewards.latex import Node

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

Same = Callable[[Node, Node, Fraction | None], bool]
"""(answer, reference, how far the answer may be from a rounded reference): are they equal?"""

MAX_PARTS = 64
OTHERWISE = "otherwise"
"""The condition of a function's last case, in whatever word."""


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
