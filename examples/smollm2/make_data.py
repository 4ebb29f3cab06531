"""Makes the SmolLM2 example's data: SFT answers, prompts for RL, held-out problems.

    python -m examples.smollm2.make_data --out build/smollm2/data

The quickstart's problems with larger numbers, in fewer words: the model can add already, and every
token costs a hundred times as much as the quickstart's.
"""

import argparse
import random
from itertools import islice
from pathlib import Path

from examples.tasks import rows
from examples.tasks.word_problems import Numbers

MATH = rows.MathTask(
    numbers=Numbers(start=(5, 20), largest_amount=9, largest_value=40),
    steps={2: 0.4, 3: 0.6},
    styles={"hasty": 0.6, "brief": 0.4},
    held_out=0.1,
)
CODE = rows.CodeTask(styles={"hasty": 0.65, "careful": 0.35}, held_out=0.15, tests=5)


def main() -> None:
    """Write every file and say what was written."""
    args = _arguments()
    sft = [
        *islice(rows.sft_math(MATH, args.seed), args.sft_math_rows),
        *islice(rows.sft_code(CODE, args.seed), args.sft_code_rows),
    ]
    random.Random(f"order {args.seed}").shuffle(sft)
    files = {
        "sft.jsonl": sft,
        "rl-math.jsonl": list(islice(rows.rl_math(MATH, args.seed), args.rl_rows)),
        "rl-code.jsonl": list(islice(rows.rl_code(CODE, args.seed), args.rl_rows)),
        "eval/math.jsonl": rows.eval_math(MATH, args.seed, args.eval_math_rows),
        "eval/code.jsonl": rows.eval_code(CODE, args.seed, args.eval_code_rows),
    }
    for name, content in files.items():
        rows.write_rows(args.out / name, content)
        print(f"{args.out / name}: {len(content)} rows")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("build/smollm2/data"),
        help="directory to write into (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="decides every row (default: 0)")
    for name, rows_, what in (
        ("sft-math-rows", 1500, "SFT answers to word problems"),
        ("sft-code-rows", 500, "SFT programs"),
        ("rl-rows", 1000, "RL problems of each domain"),
        ("eval-math-rows", 300, "held-out word problems"),
        ("eval-code-rows", 60, "held-out programming problems"),
    ):
        parser.add_argument(
            f"--{name}", type=int, default=rows_, help=f"{what} (default: %(default)s)"
        )
    return parser.parse_args()


if __name__ == "__main__":
    main()
