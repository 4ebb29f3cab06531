"""Rows of the examples' files: for SFT, for RL, for evaluation.

Training and evaluation are split by the canonical key of a problem (the numbers of a word problem,
the behaviour of a program), so they share no problem in any wording.
"""

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.tasks import programs, word_problems
from examples.tasks.split import is_held_out

Row = dict[str, Any]


@dataclass(frozen=True)
class MathTask:
    """What word problems there are."""

    numbers: word_problems.Numbers
    steps: dict[int, float]
    """Shares of problems by number of operations."""
    styles: dict[word_problems.Style, float]
    """Shares of SFT answers by style."""
    held_out: float
    """Share of skeletons that are for evaluation only."""


@dataclass(frozen=True)
class CodeTask:
    """What programming problems there are."""

    styles: dict[programs.Style, float]
    """Shares of SFT programs by style."""
    held_out: float
    """Share of behaviours that are for evaluation only."""
    tests: int
    """Tests of each problem."""


def sft_math(task: MathTask, seed: int) -> Iterator[Row]:
    """Word problems for training, each with a worked answer in a random style; endless."""
    rng = random.Random(f"sft-math {seed}")
    for problem in _training_word_problems(rng, task):
        style = _weighted(rng, task.styles)
        yield {
            "problem": problem.text,
            "response": word_problems.worked_answer(problem, style),
            "answer": str(problem.skeleton.answer),
            "domain": "math",
            "style": style,
            "steps": len(problem.skeleton.operations),
        }


def sft_code(task: CodeTask, seed: int) -> Iterator[Row]:
    """Programming problems for training, each with a program in a random style; endless."""
    rng = random.Random(f"sft-code {seed}")
    for program in _training_programs(rng, task):
        style = _weighted(rng, task.styles)
        yield {
            "problem": programs.tell(rng, program),
            "response": programs.worked_answer(rng, program, style),
            "domain": "code",
            "style": style,
            "difficulty": program.difficulty,
        }


def rl_math(task: MathTask, seed: int) -> Iterator[Row]:
    """Word problems with their answers, each wording once; endless."""
    rng = random.Random(f"rl-math {seed}")
    rows = (_math_row(problem) for problem in _training_word_problems(rng, task))
    return _unique(rows)


def rl_code(task: CodeTask, seed: int) -> Iterator[Row]:
    """Programming problems with tests, each wording once; endless."""
    rng = random.Random(f"rl-code {seed}")
    return _unique(_code_row(rng, program, task) for program in _training_programs(rng, task))


def eval_math(task: MathTask, seed: int, count: int) -> list[Row]:
    """Held-out word problems, each skeleton once.

    So one-step problems are rarer than in training: there are few such skeletons.
    """
    rng = random.Random(f"eval-math {seed}")
    rows: list[Row] = []
    seen: set[str] = set()
    while len(rows) < count:
        skeleton = _draw_skeleton(rng, task)
        if skeleton.key not in seen and is_held_out(skeleton.key, task.held_out):
            seen.add(skeleton.key)
            rows.append(_math_row(word_problems.tell(rng, skeleton)))
    return rows


def eval_code(task: CodeTask, seed: int, count: int) -> list[Row]:
    """Held-out programming problems, each behaviour once.

    Raises ValueError where fewer behaviours than asked for are held out.
    """
    rng = random.Random(f"eval-code {seed}")
    rows: list[Row] = []
    seen: set[str] = set()
    for _ in range(400 * count):
        program = programs.draw_program(rng)
        if program.key not in seen and is_held_out(program.key, task.held_out):
            seen.add(program.key)
            rows.append(_code_row(rng, program, task))
        if len(rows) == count:
            return rows
    raise ValueError(f"only {len(rows)} programs are held out; ask for at most so many rows")


def _training_word_problems(
    rng: random.Random, task: MathTask
) -> Iterator[word_problems.WordProblem]:
    while True:
        skeleton = _draw_skeleton(rng, task)
        if not is_held_out(skeleton.key, task.held_out):
            yield word_problems.tell(rng, skeleton)


def _draw_skeleton(rng: random.Random, task: MathTask) -> word_problems.Skeleton:
    return word_problems.draw_skeleton(rng, _weighted(rng, task.steps), task.numbers)


def _training_programs(rng: random.Random, task: CodeTask) -> Iterator[programs.Program]:
    while True:
        program = programs.draw_program(rng)
        if not is_held_out(program.key, task.held_out):
            yield program


def _math_row(problem: word_problems.WordProblem) -> Row:
    return {
        "problem": problem.text,
        "answer": str(problem.skeleton.answer),
        "steps": len(problem.skeleton.operations),
    }


def _code_row(rng: random.Random, program: programs.Program, task: CodeTask) -> Row:
    return {
        "problem": programs.tell(rng, program),
        "tests": programs.tests(rng, program, task.tests),
        "difficulty": program.difficulty,
    }


def _unique(rows: Iterable[Row]) -> Iterator[Row]:
    seen: set[str] = set()
    for row in rows:
        if row["problem"] not in seen:
            seen.add(row["problem"])
            yield row


def _weighted(rng: random.Random, shares: dict[Any, float]) -> Any:
    return rng.choices(list(shares), weights=list(shares.values()))[0]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write a JSONL file, and its directory where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
