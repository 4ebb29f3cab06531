"""Makes the quickstart's data: SFT answers, prompts for RL, held-out problems, a tokenizer.

    python -m examples.quickstart.make_data --out build/quickstart/data

Everything follows from --seed; the same seed writes the same bytes. Training and evaluation are
split by the canonical key of a problem (the numbers of a word problem, the behaviour of a program)
and so share no problem in any wording.
"""

import argparse
import json
import random
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from examples.quickstart.tokenizer import save_tokenizer, train_tokenizer
from examples.tasks import programs, word_problems
from examples.tasks.split import is_held_out

Row = dict[str, Any]

HELD_OUT_MATH = 0.12
HELD_OUT_CODE = 0.15
NUMBERS = word_problems.Numbers(start=(3, 12), largest_amount=5, largest_value=20)
STEPS = {1: 0.10, 2: 0.30, 3: 0.35, 4: 0.25}
"""Shares of word problems by number of operations."""
MATH_STYLES: dict[word_problems.Style, float] = {"hasty": 0.5, "careful": 0.4, "verbose": 0.1}
CODE_STYLES: dict[programs.Style, float] = {"hasty": 0.65, "careful": 0.35}
TESTS = 5


def main() -> None:
    """Write every file and say what was written."""
    args = _arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    sft = [*islice(sft_math(args.seed), args.sft_rows), *islice(sft_code(args.seed), args.sft_rows)]
    random.Random(f"order {args.seed}").shuffle(sft)
    files: dict[str, list[Row]] = {
        "sft.jsonl": sft,
        "rl-math.jsonl": list(islice(rl_math(args.seed), args.rl_rows)),
        "rl-code.jsonl": list(islice(rl_code(args.seed), args.rl_rows)),
        "eval/math.jsonl": eval_math(args.seed, args.eval_rows),
        "eval/code.jsonl": eval_code(args.seed, args.eval_rows),
    }
    for name, rows in files.items():
        _write(args.out / name, rows)
        print(f"{args.out / name}: {len(rows)} rows")
    save_tokenizer(
        train_tokenizer(row["problem"] + row["response"] for row in sft), args.out / "tokenizer"
    )
    print(f"{args.out / 'tokenizer'}: {len(sft)} texts")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("build/quickstart/data"),
        help="directory to write into (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="decides every row (default: 0)")
    parser.add_argument(
        "--sft-rows",
        type=int,
        default=15000,
        help="SFT answers of each domain (default: %(default)s)",
    )
    parser.add_argument(
        "--rl-rows",
        type=int,
        default=6000,
        help="RL problems of each domain (default: %(default)s)",
    )
    parser.add_argument(
        "--eval-rows",
        type=int,
        default=240,
        help="held-out problems of each domain (default: %(default)s)",
    )
    return parser.parse_args()


def sft_math(seed: int) -> Iterator[Row]:
    """Word problems for training, each with a worked answer in a random style; endless."""
    rng = random.Random(f"sft-math {seed}")
    for problem in _training_word_problems(rng):
        style = _weighted(rng, MATH_STYLES)
        yield {
            "problem": problem.text,
            "response": word_problems.worked_answer(problem, style),
            "answer": str(problem.skeleton.answer),
            "domain": "math",
            "style": style,
            "steps": len(problem.skeleton.operations),
        }


def sft_code(seed: int) -> Iterator[Row]:
    """Programming problems for training, each with a program in a random style; endless."""
    rng = random.Random(f"sft-code {seed}")
    for program in _training_programs(rng):
        style = _weighted(rng, CODE_STYLES)
        yield {
            "problem": programs.tell(rng, program),
            "response": programs.worked_answer(rng, program, style),
            "domain": "code",
            "style": style,
            "difficulty": program.difficulty,
        }


def rl_math(seed: int) -> Iterator[Row]:
    """Word problems with their answers, each wording once; endless."""
    rng = random.Random(f"rl-math {seed}")
    rows = (_math_row(problem) for problem in _training_word_problems(rng))
    return _unique(rows)


def rl_code(seed: int) -> Iterator[Row]:
    """Programming problems with tests, each wording once; endless."""
    rng = random.Random(f"rl-code {seed}")
    return _unique(_code_row(rng, program) for program in _training_programs(rng))


def eval_math(seed: int, count: int) -> list[Row]:
    """Held-out word problems, each skeleton once.

    So one-step problems are rarer than in training: there are few such skeletons.
    """
    rng = random.Random(f"eval-math {seed}")
    rows: list[Row] = []
    seen: set[str] = set()
    while len(rows) < count:
        skeleton = _draw_skeleton(rng)
        if skeleton.key not in seen and is_held_out(skeleton.key, HELD_OUT_MATH):
            seen.add(skeleton.key)
            rows.append(_math_row(word_problems.tell(rng, skeleton)))
    return rows


def eval_code(seed: int, count: int) -> list[Row]:
    """Held-out programming problems, each behaviour once.

    Raises ValueError where fewer behaviours than asked for are held out.
    """
    rng = random.Random(f"eval-code {seed}")
    rows: list[Row] = []
    seen: set[str] = set()
    for _ in range(400 * count):
        program = programs.draw_program(rng)
        if program.key not in seen and is_held_out(program.key, HELD_OUT_CODE):
            seen.add(program.key)
            rows.append(_code_row(rng, program))
        if len(rows) == count:
            return rows
    raise ValueError(f"only {len(rows)} programs are held out; ask for at most so many rows")


def _training_word_problems(rng: random.Random) -> Iterator[word_problems.WordProblem]:
    while True:
        skeleton = _draw_skeleton(rng)
        if not is_held_out(skeleton.key, HELD_OUT_MATH):
            yield word_problems.tell(rng, skeleton)


def _draw_skeleton(rng: random.Random) -> word_problems.Skeleton:
    return word_problems.draw_skeleton(rng, _weighted(rng, STEPS), NUMBERS)


def _training_programs(rng: random.Random) -> Iterator[programs.Program]:
    while True:
        program = programs.draw_program(rng)
        if not is_held_out(program.key, HELD_OUT_CODE):
            yield program


def _math_row(problem: word_problems.WordProblem) -> Row:
    return {
        "problem": problem.text,
        "answer": str(problem.skeleton.answer),
        "steps": len(problem.skeleton.operations),
    }


def _code_row(rng: random.Random, program: programs.Program) -> Row:
    return {
        "problem": programs.tell(rng, program),
        "tests": programs.tests(rng, program, TESTS),
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


def _write(path: Path, rows: Iterable[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
