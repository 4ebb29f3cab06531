"""Makes the quickstart's data: SFT answers, prompts for RL, held-out problems, a tokenizer.

    python -m examples.quickstart.make_data --out build/quickstart/data

Everything follows from --seed; the same seed writes the same bytes.
"""

import argparse
import random
from itertools import islice
from pathlib import Path

from examples.quickstart.tokenizer import save_tokenizer, train_tokenizer
from examples.tasks import rows
from examples.tasks.word_problems import Numbers

MATH = rows.MathTask(
    # Small enough that a model of 0.4M parameters can learn the arithmetic as a table.
    numbers=Numbers(start=(3, 12), largest_amount=5, largest_value=20),
    steps={1: 0.10, 2: 0.30, 3: 0.35, 4: 0.25},
    # Half of the answers skip the work, so that there is something for RL to find out.
    styles={"hasty": 0.5, "careful": 0.4, "verbose": 0.1},
    held_out=0.12,
)
CODE = rows.CodeTask(styles={"hasty": 0.65, "careful": 0.35}, held_out=0.15, tests=5)


def main() -> None:
    """Write every file and say what was written."""
    args = _arguments()
    sft = [
        *islice(rows.sft_math(MATH, args.seed), args.sft_rows),
        *islice(rows.sft_code(CODE, args.seed), args.sft_rows),
    ]
    random.Random(f"order {args.seed}").shuffle(sft)
    files = {
        "sft.jsonl": sft,
        "rl-math.jsonl": list(islice(rows.rl_math(MATH, args.seed), args.rl_rows)),
        "rl-code.jsonl": list(islice(rows.rl_code(CODE, args.seed), args.rl_rows)),
        "eval/math.jsonl": rows.eval_math(MATH, args.seed, args.eval_rows),
        "eval/code.jsonl": rows.eval_code(CODE, args.seed, args.eval_rows),
    }
    for name, content in files.items():
        rows.write_rows(args.out / name, content)
        print(f"{args.out / name}: {len(content)} rows")
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


if __name__ == "__main__":
    main()
