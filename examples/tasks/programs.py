"""Small programming problems with tests and with programs in two styles.

A problem asks for a chain of operations on a list of numbers or on a word that stands on standard
input. Two problems are the same when their reference programs do the same to every probe input,
whatever the wording, the order of operations or the input's form: that behaviour is the canonical
key, and it alone decides whether a problem is for training or for evaluation.

The `careful` program does what is asked. The `hasty` one has a mistake that is common in real
data: it overlooks the line with the length, has no answer for an empty list, or leaves out an
operation.
"""

import functools
import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Style = Literal["hasty", "careful"]
Kind = Literal["numbers", "word"]


@dataclass(frozen=True)
class Operation:
    """One operation: its wording, its line of code, and what it does."""

    told: str
    """Sentence of the problem."""
    code: str
    """Line of the program; works on `a` (numbers) or `s` (word)."""
    run: Callable[..., object]
    """The same operation on a list of numbers or a word."""


@dataclass(frozen=True)
class Ending:
    """How the result is printed."""

    told: str
    code: str
    run: Callable[..., str]
    hasty_code: str | None = None
    """The same without an answer for an empty list, where that makes a difference."""


def _filters() -> list[Operation]:
    out = [
        Operation(
            "Keep the even numbers.",
            "a = [x for x in a if x % 2 == 0]",
            lambda a: [x for x in a if x % 2 == 0],
        ),
        Operation(
            "Keep the odd numbers.",
            "a = [x for x in a if x % 2 == 1]",
            lambda a: [x for x in a if x % 2 == 1],
        ),
    ]
    for k in range(2, 10):
        out.append(
            Operation(
                f"Keep the numbers above {k}.",
                f"a = [x for x in a if x > {k}]",
                lambda a, k=k: [x for x in a if x > k],
            )
        )
        out.append(
            Operation(
                f"Keep the numbers below {k}.",
                f"a = [x for x in a if x < {k}]",
                lambda a, k=k: [x for x in a if x < k],
            )
        )
    return out


def _maps() -> list[Operation]:
    out = [Operation("Square each number.", "a = [x * x for x in a]", lambda a: [x * x for x in a])]
    for k in range(2, 10):
        out.append(
            Operation(
                f"Multiply each number by {k}.",
                f"a = [x * {k} for x in a]",
                lambda a, k=k: [x * k for x in a],
            )
        )
        out.append(
            Operation(
                f"Add {k} to each number.",
                f"a = [x + {k} for x in a]",
                lambda a, k=k: [x + k for x in a],
            )
        )
    return out


def _word_operations() -> list[Operation]:
    out = [
        Operation("Reverse it.", "s = s[::-1]", lambda s: s[::-1]),
        Operation("Write it in capitals.", "s = s.upper()", lambda s: s.upper()),
        Operation("Write it twice.", "s = s + s", lambda s: s + s),
        Operation("Sort its letters.", "s = ''.join(sorted(s))", lambda s: "".join(sorted(s))),
    ]
    for k in range(2, 6):
        out.append(Operation(f"Keep its first {k} letters.", f"s = s[:{k}]", lambda s, k=k: s[:k]))
        out.append(Operation(f"Drop its first {k} letters.", f"s = s[{k}:]", lambda s, k=k: s[k:]))
    for c in "aeio":
        out.append(
            Operation(
                f"Remove every {c}.", f"s = s.replace('{c}', '')", lambda s, c=c: s.replace(c, "")
            )
        )
    return out


FILTERS = _filters()
MAPS = _maps()
WORD_OPERATIONS = _word_operations()
LIST_ENDINGS = [
    Ending("Print the sum.", "print(sum(a))", lambda a: str(sum(a))),
    Ending("Print how many there are.", "print(len(a))", lambda a: str(len(a))),
    Ending(
        "Print the largest, or 0 if there is none.",
        "print(max(a, default=0))",
        lambda a: str(max(a, default=0)),
        "print(max(a))",
    ),
    Ending(
        "Print the smallest, or 0 if there is none.",
        "print(min(a, default=0))",
        lambda a: str(min(a, default=0)),
        "print(min(a))",
    ),
    Ending("Print them in order.", "print(*sorted(a))", lambda a: " ".join(map(str, sorted(a)))),
]
WORD_ENDING = Ending("Print the result.", "print(s)", lambda s: s)

WORDS = (
    "apple",
    "banana",
    "orange",
    "potato",
    "tomato",
    "radio",
    "piano",
    "ocean",
    "guitar",
    "island",
    "animal",
    "camera",
    "window",
    "garden",
    "silver",
    "planet",
    "ladder",
    "violin",
    "melon",
    "domino",
    "arena",
    "opera",
    "idea",
    "era",
    "tea",
    "go",
)

_PROBE_RNG = random.Random(20240801)
_PROBES: dict[Kind, list[object]] = {
    "numbers": [
        [],
        [1],
        [2],
        [4],
        [9],
        [13],
        *([_PROBE_RNG.randint(1, 15) for _ in range(_PROBE_RNG.randint(3, 9))] for _ in range(40)),
    ],
    "word": list(WORDS),
}


@dataclass(frozen=True)
class Program:
    """A programming problem: what is read, what is done to it, what is printed."""

    kind: Kind
    operations: tuple[Operation, ...]
    ending: Ending
    length_line: bool
    """The input's first line holds the length of what follows."""

    def run(self, value: object) -> str:
        """What the reference program prints for a list of numbers or a word."""
        return _run(self.operations, self.ending, value)

    @property
    def key(self) -> str:
        """Canonical key: a hash of what the program does to the probe inputs."""
        return _behaviour(self.kind, self.operations, self.ending)

    @property
    def difficulty(self) -> int:
        """Number of things to get right: operations, and the length line."""
        return len(self.operations) + int(self.length_line)


def _run(operations: tuple[Operation, ...], ending: Ending, value: object) -> str:
    for operation in operations:
        value = operation.run(value)
    return ending.run(value)


@functools.cache
def _behaviour(kind: Kind, operations: tuple[Operation, ...], ending: Ending) -> str:
    printed = [_run(operations, ending, probe) for probe in _PROBES[kind]]
    return hashlib.blake2b(repr((kind, printed)).encode(), digest_size=8).hexdigest()


def draw_program(rng: random.Random) -> Program:
    """A random problem: two in three on numbers, one in three on a word."""
    length_line = rng.random() < 0.5
    if rng.random() < 1 / 3:
        operations = tuple(rng.sample(WORD_OPERATIONS, rng.randint(1, 3)))
        return Program("word", operations, WORD_ENDING, length_line)
    operations = (rng.choice(FILTERS), rng.choice(MAPS))
    chosen = rng.choice((operations, operations, operations[:1], operations[1:]))
    return Program("numbers", chosen, rng.choice(LIST_ENDINGS), length_line)


def tell(rng: random.Random, program: Program) -> str:
    """The problem's statement."""
    thing = "numbers" if program.kind == "numbers" else "a word"
    if program.length_line:
        reading = rng.choice(
            (
                f"Line 1 holds the length. Line 2 holds {thing}.",
                f"The length comes first. On line 2 you get {thing}.",
            )
        )
    else:
        reading = rng.choice((f"Line 1 holds {thing}.", f"You get {thing} on line 1."))
    return " ".join([reading, *(o.told for o in program.operations), program.ending.told])


def tests(rng: random.Random, program: Program, count: int) -> list[dict[str, str]]:
    """Inputs with the reference's outputs; number problems always have an empty list among them.

    Papers' advice: tests must cover the edges, or wrong programs are rewarded (1.0 section 4.3.6).
    """
    if program.kind == "word":
        values: list[object] = list(rng.sample(WORDS, count))
    else:
        values = [
            [],
            *([rng.randint(1, 15) for _ in range(rng.randint(4, 8))] for _ in range(count - 1)),
        ]
    return [
        {"input": _as_input(program, value), "output": program.run(value) + "\n"}
        for value in values
    ]


def _as_input(program: Program, value: object) -> str:
    line = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return (f"{len(value)}\n" if program.length_line else "") + line + "\n"  # type: ignore[arg-type]


def worked_answer(rng: random.Random, program: Program, style: Style) -> str:
    """An answer in the papers' form: reasoning in <think>, then one fenced program."""
    code = careful_code(program) if style == "careful" else hasty_code(rng, program)
    thought = _plan(program) if style == "careful" else "That is easy."
    return f"<think>\n{thought}\n</think>\n\n```python\n{code}\n```"


def careful_code(program: Program) -> str:
    """The reference program."""
    return "\n".join(
        [
            *_reading(program.kind, program.length_line),
            *(o.code for o in program.operations),
            program.ending.code,
        ]
    )


def hasty_code(rng: random.Random, program: Program) -> str:
    """A program with one mistake."""
    mistakes = []
    if program.length_line:
        mistakes.append("length")
    if program.ending.hasty_code is not None:
        mistakes.append("empty")
    mistake = rng.choice(mistakes or ["operation"])
    operations = list(program.operations)
    if mistake == "operation":
        operations.pop(rng.randrange(len(operations)))
    ending = program.ending.hasty_code if mistake == "empty" else program.ending.code
    lines = _reading(program.kind, program.length_line and mistake != "length")
    return "\n".join([*lines, *(o.code for o in operations), ending or program.ending.code])


def _plan(program: Program) -> str:
    first = ["Skip the length."] if program.length_line else []
    return " ".join([*first, *(o.told for o in program.operations), program.ending.told])


def _reading(kind: Kind, length_line: bool) -> list[str]:
    first = ["input()"] if length_line else []
    if kind == "word":
        return [*first, "s = input()"]
    return [*first, "a = [int(x) for x in input().split()]"]
