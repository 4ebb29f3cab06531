"""math-verify, called as RL trainers call it (verl, NeMo-RL): the reference in a box of its own."""

import logging
from typing import Any

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify
from timed import one_after_another

logging.disable(logging.ERROR)


def grade(case: dict[str, Any]) -> bool:
    """Whether the response's answer is the reference."""
    gold = parse(f"\\boxed{{{case['answer']}}}", (LatexExtractionConfig(),))
    answer = parse(case["response"], (ExprExtractionConfig(), LatexExtractionConfig()))
    return bool(gold and answer and verify(gold, answer))


if __name__ == "__main__":
    one_after_another(grade, ["math-verify", "sympy", "latex2sympy2_extended"])
