"""A change of results cannot go unnoticed: each SEMANTICS number has the digest of small results.

Only what is the same on every machine is pinned: verdicts, chosen rows, packed rows, drawn
prompts; no weights. The verdicts are those written in the two corpora of tests/rewards, to which
the tests there hold the rewards.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from acereason_trainer.config.curate import Curate
from acereason_trainer.config.rl import RL
from acereason_trainer.config.stage_file import SEMANTICS
from acereason_trainer.curation.funnel import Funnel
from acereason_trainer.curation.selection import select
from acereason_trainer.dataset import Row, drawn_positions, mixed
from acereason_trainer.rl.curriculum import Curriculum
from acereason_trainer.rl.prompts import Prompt
from acereason_trainer.sft.packing import pack

from tests.rewards.code_cases import code_cases

REWARDS = Path(__file__).parents[1] / "rewards"


def math_verdicts() -> Any:
    """Response, reference and verdict of each case of the math corpus."""
    lines = (REWARDS / "math_cases.jsonl").read_text("utf-8").splitlines()
    return [(c["response"], c["answer"], c["verdict"]) for c in map(json.loads, lines)]


def code_verdicts() -> Any:
    """Each case of the code corpus, without the words about it."""
    return [{k: v for k, v in case.items() if k != "pins"} for case in code_cases()]


def drawn() -> Any:
    """Prompts of a few steps over two epochs, resampled."""
    stage = RL.parse(
        {
            "promptsPerStep": 4,
            "mix": [{"where": [{"column": "n", "max": 3}], "weight": 2.5},
                    {"where": [{"column": "n", "max": 5}], "weight": 0}],
        }
    )  # fmt: skip
    rows = [Row(f"r{n}", {"problem": f"p{n}", "n": n}, "") for n in range(10)]
    prompts = [Prompt(row, (1,)) for row in mixed(rows, stage.mix, "key")]
    state, out = Curriculum(), []
    for _ in range(6):
        chosen = state.next_prompts(prompts, stage, ("key", 0))
        out.append([p.id for p in chosen])
        ids = {p.id: False for p in chosen}
        state = state.after_step(
            prompts, stage, solved=ids, lengths=dict.fromkeys(ids, 1.0), reward=0.0
        )
    return out


def kept() -> Any:
    """Rows that several rules, duplicates, overlap, mix and maxRows leave."""
    told = [
        "How many apples are left of 12?", "How many apples are left of 12 ?", "Prove that 1 is 1.",
        "Is it true or false that 7 is prime?", "Which is larger? (A) 1 (B) 2 (C) 3 (D) 4",
        "In the figure below, find the angle.", "a) Find x. b) Find y.", "Short", "x" * 9000,
        "The sum of one and two and three and four and five and six and seven is what?",
        *(f"A train with {n} wagons loses {n - 20} of them: how many stay?" for n in range(20, 32)),
    ]  # fmt: skip
    rows = [Row(f"r{n}", {"problem": p, "answer": "1", "n": n}, "") for n, p in enumerate(told)]
    mix = [{"where": [{"column": "n", "min": 15}], "weight": 1.5}]
    overlap = [("held out", "one and two and three and four and five and six")]
    chosen = [
        row.id for row in select(rows, Curate.parse({"mix": mix}), overlap, Funnel(), "curate/0")
    ]
    return [chosen, sorted(drawn_positions(chosen, 6, "maxRows", 0))]


def packed() -> Any:
    """Rows of documents of many lengths."""
    return list(pack(enumerate((n * 37) % 61 + 3 for n in range(200)), row_tokens=96))


PINS = [
    ("curate", 5, [kept, math_verdicts, code_verdicts], "5cc75552a45ce441"),
    ("sft", 1, [packed], "94b2ae9d97810670"),
    ("mathRL", 6, [math_verdicts, drawn], "1eabaf1d51ff2d54"),
    ("codeRL", 5, [code_verdicts, drawn], "56d525299772387b"),
    ("evaluate", 6, [math_verdicts, code_verdicts], "7336bf09735518f4"),
]


@pytest.mark.parametrize(("kind", "number", "results", "pin"), PINS, ids=[p[0] for p in PINS])
def test_results_change_only_together_with_the_semantics_number(
    kind: str, number: int, results: list[Any], pin: str
) -> None:
    text = json.dumps([result() for result in results], ensure_ascii=True, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert (SEMANTICS[kind], digest) == (number, pin), (
        f"results of {kind} stages, or the cases that show them, changed (now {digest}). Where the "
        f"same settings and inputs give other results, raise SEMANTICS[{kind!r}] in "
        "config/stage_file.py, so that no finished work of before is reused; where they are sure "
        "to be the same (a case was added, say), leave it. Then update the pin here."
    )
