r"""A training step's worth of rollouts: 1,024 prompts with 16 responses each, math and code.

What a step looks like decides what it costs, so it is drawn from what the papers' recipe leads to:
long responses (thousands of tokens of reasoning, with drafts in boxes and code blocks that must not
count), math answers that are integers more often than not, a pass rate of its own for each problem,
some responses without an answer, and one program in a thousand that never ends.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks import rewards_pairs, rewards_programs
from examples.tasks import programs


@dataclass(frozen=True)
class Rollout:
    """A sampled response to a problem."""

    row: dict[str, Any]
    response: str
    right: bool | None
    """None: only running it tells."""


MATH_KINDS = {
    "small integer": 55,
    "integer": 10,
    "fraction": 10,
    "decimal": 4,
    "radical": 6,
    "multiple of pi": 3,
    "pair": 3,
    "polynomial": 3,
    "interval": 2,
    "roots": 2,
    "choice": 2,
}
"""Kinds of answers and their weights, after the answers of public RL prompt sets: mostly integers,
one in eight an expression."""
TESTS_OF_A_PROBLEM = (5, 10, 15, 20)
NO_ANSWER = 0.04
ANOTHER_FORM = 0.25
"""Share of the right answers that are written otherwise than the reference."""
ENDLESS = 0.001
CHARACTERS = (4_000, 80_000)
"""Length of a response: about 1,000 to 24,000 tokens."""


def math_batch(prompts: int, group: int, seed: int = 0) -> Iterator[Rollout]:
    """The math rollouts of a step, group by group."""
    rng = random.Random(f"math batch {seed}")
    kinds, weights = list(MATH_KINDS), list(MATH_KINDS.values())
    thoughts = _Thoughts(rng, "So it is \\boxed{0}, or is it? ")
    for number in range(prompts):
        ways = rewards_pairs.KINDS[rng.choices(kinds, weights)[0]][1](rng)
        row = {"id": f"math-{number}", "problem": "?", "answer": ways.reference}
        pass_rate = rng.random()
        for _ in range(group):
            thought = thoughts.draw()
            if rng.random() < NO_ANSWER:
                yield Rollout(row, f"<think>\n{thought}\n</think>\n\nNobody knows.", right=False)
                continue
            right = rng.random() < pass_rate
            answer = rng.choice(ways.other)
            if right:
                rewritten = rng.random() < ANOTHER_FORM
                answer = rng.choice(ways.same) if rewritten else ways.reference
            yield Rollout(row, rewards_pairs.response_with(answer, thought), right)


def code_batch(prompts: int, group: int, seed: int = 0) -> Iterator[Rollout]:
    """The code rollouts of a step, group by group."""
    rng = random.Random(f"code batch {seed}")
    thoughts = _Thoughts(rng, "A first try:\n```python\nprint(0)\n```\nNo. ")
    for number in range(prompts):
        problem = programs.draw_program(rng)
        tests = programs.tests(rng, problem, rng.choice(TESTS_OF_A_PROBLEM))
        row = {"id": f"code-{number}", "problem": "?", "tests": tests}
        pass_rate = rng.random()
        for attempt in range(group):
            thought = thoughts.draw()
            chance = rng.random()
            if chance < NO_ANSWER:
                yield Rollout(row, f"<think>\n{thought}\n</think>\n\nNobody knows.", right=False)
                continue
            right: bool | None = True
            if chance < NO_ANSWER + ENDLESS:
                code, right = rewards_programs.ENDLESS, False
            elif rng.random() < pass_rate:
                code = programs.careful_code(problem)
            else:
                code, right = programs.hasty_code(rng, problem), None
            yield Rollout(row, rewards_programs.response_with(code, attempt, thought), right)


class _Thoughts:
    """Reasoning of random length, cut from one long text."""

    def __init__(self, rng: random.Random, draft: str) -> None:
        self._rng = rng
        words = ("we", "have", "that", "then", "let", "x", "be", "so", "the", "sum", "of", "$n^2$")
        pieces: list[str] = []
        size = 0
        while size < 2 * CHARACTERS[1]:
            piece = draft if rng.random() < 0.01 else " ".join(rng.choices(words, k=9)) + ". "
            pieces.append(piece)
            size += len(piece)
        self._text = "".join(pieces)

    def draw(self) -> str:
        """Most are short: the logarithm of the length is uniform."""
        least, most = CHARACTERS
        length = int(least * (most / least) ** self._rng.random())
        start = self._rng.randrange(len(self._text) - length)
        return self._text[start : start + length]
