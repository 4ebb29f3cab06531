"""Makes the SmolLM2 example's data: SFT answers, prompts for RL, held-out problems.

    python -m examples.smollm2.make_data --out build/smollm2/data

The quickstart's problems with larger numbers, in fewer words: the model can add already, and every
token costs a hundred times as much as the quickstart's.
"""

from pathlib import Path

from examples.tasks import rows
from examples.tasks.files import Sizes, arguments, write_files
from examples.tasks.word_problems import Numbers

MATH = rows.MathTask(
    numbers=Numbers(start=(5, 20), largest_amount=9, largest_value=40),
    steps={2: 0.4, 3: 0.6},
    styles={"hasty": 0.6, "brief": 0.4},
    held_out=0.1,
)
CODE = rows.CodeTask(styles={"hasty": 0.65, "careful": 0.35}, held_out=0.15, tests=5)
SIZES = Sizes(sft_math=1500, sft_code=500, rl=1000, eval_math=300, eval_code=60)


def main() -> None:
    """Write every file and say what was written."""
    asked = arguments("Makes the SmolLM2 example's data.", Path("build/smollm2/data"), SIZES)
    write_files(asked, MATH, CODE)


if __name__ == "__main__":
    main()
