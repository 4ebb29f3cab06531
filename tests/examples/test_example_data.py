"""The examples' data: nothing leaks, everything is right, the same seed writes the same bytes."""

import contextlib
import functools
import io
import random
import re
import subprocess
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from examples.quickstart import make_data as quickstart
from examples.smollm2 import make_data as smollm2
from examples.tasks import programs, rows, word_problems
from examples.tasks.programs import Program
from examples.tasks.split import is_held_out

PROJECT = Path(__file__).parents[2]
EXAMPLES = pytest.mark.parametrize("example", [quickstart, smollm2], ids=["quickstart", "smollm2"])


def skeleton_in(problem: str) -> str:
    """Start number and operations, read back from the story."""
    start = re.search(r" has (\d+) ", problem)
    assert start is not None, problem
    told = re.findall(r"day: (?:(gets|finds|loses|sells) (\d+)|(doubles|triples) them)\.", problem)
    operations = [
        f"{'+' if verb in ('gets', 'finds') else '-'}{amount}"
        if verb
        else f"*{ {'doubles': 2, 'triples': 3}[times] }"
        for verb, amount, times in told
    ]
    return start[1] + "".join(operations)


OPERATIONS = {o.told: o for o in [*programs.FILTERS, *programs.MAPS, *programs.WORD_OPERATIONS]}
ENDINGS = {e.told: e for e in [*programs.LIST_ENDINGS, programs.WORD_ENDING]}


def program_in(problem: str) -> Program:
    """The program that a statement asks for, read back sentence by sentence."""
    sentences = [f"{s}." for s in problem.rstrip(".").split(". ")]
    asked = [s for s in sentences if s in OPERATIONS]
    return Program(
        kind="word" if "word" in problem else "numbers",
        operations=tuple(OPERATIONS[s] for s in asked),
        ending=ENDINGS[sentences[-1]],
        length_line="length" in problem,
    )


@functools.cache
def compiled(code: str) -> CodeType:
    return compile(code, "program", "exec")


def printed(code: str, text: str) -> str | None:
    """What a program prints for an input; None where it dies."""
    lines = iter(text.split("\n"))
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            exec(compiled(code), {"input": lambda: next(lines)})
        except (ValueError, StopIteration):
            return None
    return out.getvalue()


def passes(code: str, tests: list[dict[str, str]]) -> bool:
    return all(printed(code, test["input"]) == test["output"] for test in tests)


def fenced(response: str) -> str:
    found = re.search(r"```python\n(.*)\n```$", response, re.DOTALL)
    assert found is not None, response
    return found[1]


@EXAMPLES
def test_no_numbers_of_a_word_problem_are_both_trained_on_and_evaluated(example: Any) -> None:
    held_out = {
        skeleton_in(r["problem"]) for r in rows.eval_math(example.MATH, 0, example.SIZES.eval_math)
    }
    sft = islice(rows.sft_math(example.MATH, 0), example.SIZES.sft_math)
    rl = islice(rows.rl_math(example.MATH, 0), example.SIZES.rl)
    trained = {skeleton_in(r["problem"]) for r in [*sft, *rl]}

    assert len(held_out) == example.SIZES.eval_math
    assert not held_out & trained


@EXAMPLES
def test_no_behaviour_of_a_program_is_both_trained_on_and_evaluated(example: Any) -> None:
    """Behaviour is measured by running the reference programs on inputs of this test's own."""
    rng = random.Random("fresh inputs")
    # Single numbers and pairs find every threshold; words of all lengths find every cut.
    inputs = {
        "numbers": [
            "",
            *(str(n) for n in range(16)),
            *(f"{n} {n}" for n in range(16)),
            *(" ".join(str(rng.randint(0, 15)) for _ in range(6)) for _ in range(20)),
        ],
        "word": [
            "".join(rng.choice("aeiouaeioubcdfg") for _ in range(n))
            for n in range(13)
            for _ in range(4)
        ],
    }

    def behaviours(problems: list[str]) -> set[tuple[str | None, ...]]:
        found = {}
        for problem in problems:
            asked = program_in(problem)
            code = programs.careful_code(
                Program(asked.kind, asked.operations, asked.ending, length_line=False)
            )
            if code not in found:
                found[code] = tuple(printed(code, f"{line}\n") for line in inputs[asked.kind])
        return set(found.values())

    held_out = behaviours(
        [r["problem"] for r in rows.eval_code(example.CODE, 0, example.SIZES.eval_code)]
    )
    sft = islice(rows.sft_code(example.CODE, 0), example.SIZES.sft_code)
    rl = islice(rows.rl_code(example.CODE, 0), example.SIZES.rl)
    trained = behaviours([r["problem"] for r in [*sft, *rl]])

    assert len(held_out) == example.SIZES.eval_code
    assert not held_out & trained


@EXAMPLES
def test_no_problem_stands_in_two_files_of_training_and_evaluation(example: Any) -> None:
    sizes = example.SIZES
    evaluated = {
        r["problem"]
        for r in [
            *rows.eval_math(example.MATH, 0, sizes.eval_math),
            *rows.eval_code(example.CODE, 0, sizes.eval_code),
        ]
    }
    trained: list[tuple[Iterable[Any], int]] = [
        (rows.sft_math(example.MATH, 0), sizes.sft_math),
        (rows.sft_code(example.CODE, 0), sizes.sft_code),
        (rows.rl_math(example.MATH, 0), sizes.rl),
        (rows.rl_code(example.CODE, 0), sizes.rl),
    ]
    for made, size in trained:
        assert not evaluated & {r["problem"] for r in islice(made, size)}


def test_the_split_goes_by_the_key_alone_and_keeps_its_share() -> None:
    held_out = [is_held_out(str(n), 0.15) for n in range(10_000)]

    assert held_out == [is_held_out(str(n), 0.15) for n in range(10_000)]
    assert 0.13 < sum(held_out) / len(held_out) < 0.17


@EXAMPLES
def test_every_worked_answer_to_a_word_problem_is_right_in_every_line(example: Any) -> None:
    styles = set()
    for row in islice(rows.sft_math(example.MATH, 3), 500):
        styles.add(row["style"])
        thought, answer = row["response"].split("\n</think>\n\n")
        assert answer == f"\\boxed{{{row['answer']}}}"
        assert int(row["answer"]) == eval_left_to_right(skeleton_in(row["problem"]))
        for line in re.findall(r"(\d+[-+*]\d+)=(\d+)", thought):
            assert eval_left_to_right(line[0]) == int(line[1])
    assert styles == set(example.MATH.styles)


def eval_left_to_right(chain: str) -> int:
    """The value of `8+3*2`, read as the story goes: from left to right."""
    value, *operations = re.findall(r"(?:^|[-+*])\d+", chain)
    result = int(value)
    for operation in operations:
        amount = int(operation[1:])
        result = {"+": result + amount, "-": result - amount, "*": result * amount}[operation[0]]
    return result


@EXAMPLES
def test_numbers_stay_within_what_the_task_says(example: Any) -> None:
    rng = random.Random(5)
    for steps in example.MATH.steps:
        for _ in range(200):
            skeleton = word_problems.draw_skeleton(rng, steps, example.MATH.numbers)
            assert len(skeleton.operations) == steps
            assert all(1 <= v <= example.MATH.numbers.largest_value for v in skeleton.values)


def test_every_careful_program_passes_its_tests_and_hasty_ones_rarely_do() -> None:
    rng = random.Random(7)
    hasty_passed = 0
    for _ in range(300):
        program = programs.draw_program(rng)
        tests = programs.tests(rng, program, 5)
        careful = programs.worked_answer(rng, program, "careful")
        assert passes(fenced(careful), tests), careful
        hasty_passed += passes(fenced(programs.worked_answer(rng, program, "hasty")), tests)
    assert hasty_passed < 60


def test_a_program_that_fails_on_the_edge_alone_is_caught_by_the_tests() -> None:
    """`max` of an empty list, and the length read as one of the numbers."""
    largest = next(e for e in programs.LIST_ENDINGS if e.hasty_code == "print(max(a))")
    program = Program("numbers", (programs.FILTERS[0],), largest, length_line=True)
    tests = programs.tests(random.Random(1), program, 5)
    careful = programs.careful_code(program)

    assert passes(careful, tests)
    assert not passes(careful.replace(", default=0", ""), tests)
    assert not passes(careful.removeprefix("input()\n"), tests)


def test_the_same_seed_writes_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    sizes = {"sft-math": 40, "sft-code": 40, "rl": 20, "eval-math": 10, "eval-code": 10}
    small = [word for name, n in sizes.items() for word in (f"--{name}-rows", str(n))]
    for name, seed in (("one", "3"), ("two", "3"), ("other", "4")):
        subprocess.run(
            [
                *(sys.executable, "-m", "examples.quickstart.make_data"),
                *("--out", str(tmp_path / name), "--seed", seed, *small),
            ],
            cwd=PROJECT,
            check=True,
            capture_output=True,
        )

    def contents(name: str) -> dict[str, bytes]:
        root = tmp_path / name
        return {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*") if f.is_file()}

    assert contents("one") == contents("two")
    assert contents("one")["sft.jsonl"] != contents("other")["sft.jsonl"]
