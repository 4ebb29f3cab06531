"""Programs with their tests, as the code checkers get them: responses to the examples' problems.

A problem of examples/tasks has a careful program, which is right, and hasty ones with a mistake
that is common in real data. A comment makes every program different from every other, as sampled
programs are, so that nothing that is remembered helps.
"""

import contextlib
import io
import random
import sys
from collections.abc import Iterator
from typing import Any

from examples.tasks import programs

Case = dict[str, Any]
"""{tests, response}."""

TRIVIAL = "print(sum(map(int, input().split())))"
ENDLESS = "while True:\n    pass"


def trivial_cases(count: int, tests: int, seed: int = 0) -> list[Case]:
    """One line that reads numbers and prints their sum."""
    rng = random.Random(f"trivial {seed}")
    return [
        {"tests": [_sum_test(rng) for _ in range(tests)], "response": response_with(TRIVIAL, n)}
        for n in range(count)
    ]


def task_cases(count: int, tests: int, right: bool, seed: int = 0) -> list[Case]:
    """Programs for the examples' problems on numbers, all of them right or all of them wrong."""
    rng = random.Random(f"programs {seed} {tests} {right}")
    cases: list[Case] = []
    while len(cases) < count:
        problem = programs.draw_program(rng)
        if problem.kind != "numbers":
            continue  # there are fewer words than tests
        asked = programs.tests(rng, problem, tests)
        code = programs.careful_code(problem) if right else programs.hasty_code(rng, problem)
        if passes(code, asked) == right:
            cases.append({"tests": asked, "response": response_with(code, len(cases))})
    return cases


def response_with(code: str, number: int, thought: str = "Let me see.") -> str:
    """A response in the papers' form: reasoning, then one fenced program."""
    return f"<think>\n{thought}\n</think>\n\n```python\n# attempt {number}\n{code}\n```"


def passes(code: str, tests: list[dict[str, str]]) -> bool:
    """Whether one of our own programs does what its tests ask; run right here."""
    return all(_printed(code, t["input"]) == t["output"].split() for t in tests)


def _printed(code: str, stdin: str) -> list[str] | None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), _stdin(stdin):
        try:
            exec(compile(code, "program.py", "exec"), {"__name__": "__main__"})
        except (ValueError, EOFError):
            return None  # what the hasty programs run into
    return out.getvalue().split()


@contextlib.contextmanager
def _stdin(text: str) -> Iterator[None]:
    before, sys.stdin = sys.stdin, io.StringIO(text)
    try:
        yield
    finally:
        sys.stdin = before


def _sum_test(rng: random.Random) -> dict[str, str]:
    numbers = [rng.randint(-999, 999) for _ in range(rng.randint(2, 9))]
    return {"input": " ".join(map(str, numbers)) + "\n", "output": f"{sum(numbers)}\n"}
