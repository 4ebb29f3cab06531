"""Arithmetic word problems with a worked answer in three styles.

A problem is a skeleton (a start number and one to four operations) told as a story. The skeleton
alone decides the answer, so it alone decides whether a problem is for training or for evaluation:
another name or another thing around the same numbers is the same problem.

The styles stand for what real SFT data mixes: right answers without the work (`hasty`), the work
line by line (`careful`; `brief` leaves out the words), the work with everything said twice
(`verbose`). A model that imitates
all three is right far less often than one that has learned, by RL, which of them pays.
"""

import random
from dataclasses import dataclass
from typing import Literal

Style = Literal["hasty", "brief", "careful", "verbose"]
Symbol = Literal["+", "-", "*"]

NAMES = ("Ann", "Ben", "Cora", "Dan", "Eva", "Finn", "Gus", "Hana")
THINGS = ("apples", "books", "cards", "coins", "eggs", "nuts", "pens", "shells")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")


@dataclass(frozen=True)
class Operation:
    """One thing that happens to the number."""

    symbol: Symbol
    amount: int

    def apply(self, value: int) -> int:
        """The number afterwards."""
        if self.symbol == "+":
            return value + self.amount
        if self.symbol == "-":
            return value - self.amount
        return value * self.amount

    def told(self, rng: random.Random) -> str:
        """The operation as a clause of the story."""
        if self.symbol == "*":
            return {2: "doubles", 3: "triples"}[self.amount] + " them"
        verb = rng.choice(("gets", "finds") if self.symbol == "+" else ("loses", "sells"))
        return f"{verb} {self.amount}"


@dataclass(frozen=True)
class Skeleton:
    """A start number and what happens to it: all that the answer depends on."""

    start: int
    operations: tuple[Operation, ...]

    @property
    def key(self) -> str:
        """Names the skeleton, for example `8+3*2`: what the split goes by."""
        return str(self.start) + "".join(f"{o.symbol}{o.amount}" for o in self.operations)

    @property
    def values(self) -> list[int]:
        """The start number and the number after each operation."""
        values = [self.start]
        for operation in self.operations:
            values.append(operation.apply(values[-1]))
        return values

    @property
    def answer(self) -> int:
        """The last number."""
        return self.values[-1]


@dataclass(frozen=True)
class Numbers:
    """How large the numbers of a problem may be."""

    start: tuple[int, int]
    """Smallest and largest start number."""
    largest_amount: int
    """Largest number that is added or taken away."""
    largest_value: int
    """No intermediate number is above this; none is below 1."""


def draw_skeleton(rng: random.Random, steps: int, numbers: Numbers) -> Skeleton:
    """A random skeleton of so many operations that stays within the numbers."""
    start = rng.randint(*numbers.start)
    operations: list[Operation] = []
    value = start
    while len(operations) < steps:
        symbol: Symbol = rng.choices(("+", "-", "*"), weights=(4, 4, 2))[0]
        amount = rng.randint(2, 3) if symbol == "*" else rng.randint(1, numbers.largest_amount)
        operation = Operation(symbol, amount)
        if 1 <= operation.apply(value) <= numbers.largest_value:
            operations.append(operation)
            value = operation.apply(value)
    return Skeleton(start, tuple(operations))


@dataclass(frozen=True)
class Event:
    """One operation as the story tells it."""

    day: str
    clause: str
    operation: Operation


@dataclass(frozen=True)
class WordProblem:
    """A skeleton told as a story."""

    skeleton: Skeleton
    text: str
    events: tuple[Event, ...]
    """In the order of the skeleton's operations."""


def tell(rng: random.Random, skeleton: Skeleton) -> WordProblem:
    """A story around a skeleton; every operation has a day of its own.

    The days are what makes the problem learnable for a tiny model: they give it something to look
    up in the problem while it works line by line.
    """
    name, thing = rng.choice(NAMES), rng.choice(THINGS)
    first_day = rng.randint(0, len(DAYS) - len(skeleton.operations))
    events = tuple(
        Event(day, operation.told(rng), operation)
        for day, operation in zip(DAYS[first_day:], skeleton.operations, strict=False)
    )
    text = " ".join(
        [
            f"{name} has {skeleton.start} {thing}.",
            *(f"{e.day}: {e.clause}." for e in events),
            f"How many {thing} does {name} have now?",
        ]
    )
    return WordProblem(skeleton, text, events)


def worked_answer(problem: WordProblem, style: Style) -> str:
    """A right answer in the papers' form: reasoning in <think>, then the answer in a box."""
    thought = "\n".join(_thought(problem, style))
    return f"<think>\n{thought}\n</think>\n\n\\boxed{{{problem.skeleton.answer}}}"


def _thought(problem: WordProblem, style: Style) -> list[str]:
    if style == "hasty":
        return ["That is easy."]
    values = problem.skeleton.values
    equations = [
        f"{before}{e.operation.symbol}{e.operation.amount}={after}"
        for e, before, after in zip(problem.events, values, values[1:], strict=False)
    ]
    if style == "brief":
        return equations
    lines = [
        f"{e.day}: {e.clause}: {equation}"
        for e, equation in zip(problem.events, equations, strict=True)
    ]
    if style == "careful":
        return lines
    return ["Let me start.", *lines, "Let me check.", *lines]
