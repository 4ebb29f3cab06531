"""The files of an example: SFT answers, prompts for RL, held-out problems, of math and code.

Everything follows from the seed; the same seed writes the same bytes.
"""

import argparse
import random
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from examples.tasks import rows


@dataclass(frozen=True)
class Sizes:
    """Rows of each file."""

    sft_math: int
    sft_code: int
    rl: int
    """Of each domain."""
    eval_math: int
    eval_code: int


@dataclass(frozen=True)
class Asked:
    """What the command line asks for."""

    out: Path
    seed: int
    sizes: Sizes


def arguments(description: str, out: Path, sizes: Sizes) -> Asked:
    """Read the command line; `out` and `sizes` are its defaults."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--out", type=Path, default=out, help="directory to write into (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="decides every row (default: 0)")
    for name, what in (
        ("sft_math", "SFT answers to word problems"),
        ("sft_code", "SFT programs"),
        ("rl", "RL problems of each domain"),
        ("eval_math", "held-out word problems"),
        ("eval_code", "held-out programming problems"),
    ):
        parser.add_argument(
            f"--{name.replace('_', '-')}-rows",
            dest=name,
            metavar="N",
            type=int,
            default=getattr(sizes, name),
            help=f"{what} (default: %(default)s)",
        )
    given = vars(parser.parse_args())
    return Asked(given.pop("out"), given.pop("seed"), Sizes(**given))


def write_files(asked: Asked, math: rows.MathTask, code: rows.CodeTask) -> list[rows.Row]:
    """Write every file and say what was written; returns the rows of SFT, in their order."""
    sizes, seed = asked.sizes, asked.seed
    sft = [
        *islice(rows.sft_math(math, seed), sizes.sft_math),
        *islice(rows.sft_code(code, seed), sizes.sft_code),
    ]
    random.Random(f"order {seed}").shuffle(sft)
    files = {
        "sft.jsonl": sft,
        "rl-math.jsonl": list(islice(rows.rl_math(math, seed), sizes.rl)),
        "rl-code.jsonl": list(islice(rows.rl_code(code, seed), sizes.rl)),
        "eval/math.jsonl": rows.eval_math(math, seed, sizes.eval_math),
        "eval/code.jsonl": rows.eval_code(code, seed, sizes.eval_code),
    }
    for name, content in files.items():
        rows.write_rows(asked.out / name, content)
        print(f"{asked.out / name}: {len(content)} rows")
    return sft
