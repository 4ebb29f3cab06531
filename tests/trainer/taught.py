"""Teaches the tiny model to answer in the built-in rewards' forms, now right and now wrong."""

import random
from pathlib import Path
from typing import Any

from tests.stage_attempts import a_stage, attempt, published, write_rows

BARE = {"template": "plain", "mathInstruction": "", "codeInstruction": "", "thinkOpen": ""}
"""Prompts of a few characters: the taught model has seen nothing else."""
CODE_TESTS = [{"input": "", "output": "1"}]
SETTINGS = {
    "sft": {
        "optimizer": {"learningRate": 1e-2, "finalFraction": 0.1},
        "budget": {"steps": 100},
        "rowTokens": 256,
        "rowsPerStep": 1,
        "tokensPerMicroBatch": 256,
        "prompting": BARE,
        "loading": {"dtype": "float32"},
    }
}


def taught(tiny_model: Path, store: Path) -> Path:
    """Directory of a model that answers the problems m0 to m19 and c0 to c19 with 1, which is
    right, or 2, about as often. Costs about 3 s."""
    rows: list[dict[str, Any]] = []
    for n in range(20):
        for said in (1, 2):
            boxed, program = f"\\boxed{{{said}}}", f"```python\nprint({said})\n```"
            rows.append({"problem": f"m{n}", "answer": "1", "response": boxed})
            rows.append({"problem": f"c{n}", "tests": CODE_TESTS, "response": program})
    random.Random(0).shuffle(rows)
    data = write_rows(store / "rows.jsonl", rows)
    stage = a_stage(store, SETTINGS, key="taught", model=tiny_model, data=data)
    assert attempt(stage) == 0
    return published(stage)[1]
