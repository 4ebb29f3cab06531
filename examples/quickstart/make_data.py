"""Makes the quickstart's data: SFT answers, prompts for RL, held-out problems, a tokenizer.

    python -m examples.quickstart.make_data --out examples/quickstart/data

Everything follows from --seed; --help has the sizes.
"""

from pathlib import Path

from examples.quickstart.tokenizer import save_tokenizer, train_tokenizer
from examples.tasks import rows
from examples.tasks.files import Sizes, arguments, write_files
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
SIZES = Sizes(sft_math=15_000, sft_code=15_000, rl=6000, eval_math=240, eval_code=240)


def main() -> None:
    """Write every file and the tokenizer, and say what was written."""
    asked = arguments("Makes the quickstart's data.", Path("examples/quickstart/data"), SIZES)
    sft = write_files(asked, MATH, CODE)
    save_tokenizer(
        train_tokenizer(row["problem"] + row["response"] for row in sft), asked.out / "tokenizer"
    )
    print(f"{asked.out / 'tokenizer'}: {len(sft)} texts")


if __name__ == "__main__":
    main()
