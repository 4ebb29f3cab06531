"""A change of results cannot go unnoticed: each SEMANTICS number has the digest of small results.

Only what is the same on every machine is pinned: verdicts, chosen rows, packed rows, drawn
prompts, steps, a gradient of round numbers; no weights. The verdicts are those written in the two
corpora of tests/rewards, to which the tests there hold the rewards.
"""

import hashlib
import json
from pathlib import Path
from statistics import fmean, stdev
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from acereason_trainer.config.curate import Curate
from acereason_trainer.config.rl import RL
from acereason_trainer.config.stage_file import (
    SEMANTICS,
    SEMANTICS_OF_PARTS,
    StageSettings,
    semantics_of,
)
from acereason_trainer.curation.funnel import Funnel
from acereason_trainer.curation.pass_rate import columns_of
from acereason_trainer.curation.selection import select
from acereason_trainer.dataset import Row
from acereason_trainer.evaluation.journal import GradedAnswer
from acereason_trainer.evaluation.results import SetTally
from acereason_trainer.policy import head
from acereason_trainer.policy.loading import stop_tokens
from acereason_trainer.rewards.protocol import Verdict
from acereason_trainer.rl.curriculum import Curriculum, Measured
from acereason_trainer.rl.prompts import Prompt
from acereason_trainer.row_choice import drawn_positions, mixed
from acereason_trainer.sft.packing import pack
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import GenerationConfig, PreTrainedTokenizerFast

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


def ended_by_a_plateau() -> Any:
    """After which step stages of several patiences end, whose model gains slowly and then no more
    on problems of all kinds, from never solved to always."""
    ends = []
    for patience in (1, 2, 3):
        stage = RL.parse(
            {"validation": {}, "stop": {"plateau": {"patience": patience, "maxSteps": 60}}}
        )
        prompts = [Prompt(Row("r", {"problem": "p"}, ""), (1,))]
        state = Curriculum()
        while not state.finished(prompts, stage):
            state = state.after_step(prompts, stage, solved={}, lengths={}, reward=0.0)
            validations = [*state.validations, validated(state.step)]
            state = state.model_copy(update={"validations": validations})
        ends.append([patience, state.step])
    return ends


def validated(step: int) -> Measured:
    """40 problems with 4 samples each; every other step 3 more of them are solved once more."""
    gained = 3 * (min(step, 16) // 2)
    chance = [(7 * n + 5 * step) % 23 == 0 for n in range(40)]
    right = [min(4, n % 5 + (11 * n % 40 < gained)) for n in range(40)]
    scores = [max(0, r - lost) / 4 for r, lost in zip(right, chance, strict=True)]
    return Measured(
        step=step,
        accuracy=fmean(scores),
        stderr=stdev(scores) / 40**0.5,
        scores={f"p{n}": score for n, score in enumerate(scores)},
    )


def gradient_in_bfloat16() -> Any:
    """Of an output matrix over 1200 chunks: all numbers are quarters, which no machine rounds."""
    output = torch.nn.Linear(2, 4, bias=False).to(torch.bfloat16)
    torch.nn.init.zeros_(output.weight)
    hidden = torch.tensor([[1.0, 2.0]] * 1200, dtype=torch.bfloat16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head, "LOGITS_AT_ONCE", 4)
        found, _ = head.Head(output)(hidden, torch.arange(1200) % 3, 1.0)
        found.sum().backward()
    assert output.weight.grad is not None
    return output.weight.grad.tolist()


def ends() -> Any:
    """What ends a response: the tokenizer's end, and that of the chat template."""
    words = {"<unk>": 0, "<eos>": 1, "<end>": 2, "[": 3, "]": 4}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, "<unk>")),
        eos_token="<eos>",
        additional_special_tokens=["<end>"],
        chat_template="{% for m in messages %}[ {{ m.content }}<end>{% endfor %}",
    )
    model = SimpleNamespace(generation_config=GenerationConfig(eos_token_id=1))
    found = sorted(stop_tokens(model, tokenizer))
    assert found == [1, 2]
    return found


def rated() -> Any:
    """What a row is given by its attempts, one of which could not be checked."""
    tally = SetTally("pass rate", [f"p{n}" for n in range(100)], 4)
    for row in range(100):
        rewards: list[float | None] = [1.0, 0.0, 0.0, 1.0 if row else None]
        tally.add(
            GradedAnswer(
                f"p{row}", n, Verdict.WRONG, reward, 5 * n, truncated=False, text="", detail=""
            )
            for n, reward in enumerate(rewards)
        )
    found = columns_of(tally)
    return [found["p0"], found["p1"]]


PINS = [
    ("curate", 5, [kept, math_verdicts, code_verdicts], "5cc75552a45ce441"),
    ("sft", 1, [packed], "94b2ae9d97810670"),
    ("mathRL", 7, [math_verdicts, drawn, ends], "ca7729b7b8d55cf0"),
    ("codeRL", 6, [code_verdicts, drawn, ends], "e754ed6584afab97"),
    ("evaluate", 7, [math_verdicts, code_verdicts, ends], "8e41649f15f7bb6a"),
    ("bfloat16", 1, [gradient_in_bfloat16], "bcfdea3bcfd320fc"),
    ("plateau", 1, [ended_by_a_plateau], "37e35e2fbb3b6c2e"),
    ("passRate", 2, [ends, rated], "7dbd1d7acf218267"),
]


@pytest.mark.parametrize(("kind", "number", "results", "pin"), PINS, ids=[p[0] for p in PINS])
def test_results_change_only_together_with_the_semantics_number(
    kind: str, number: int, results: list[Any], pin: str
) -> None:
    text = json.dumps([result() for result in results], ensure_ascii=True, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    numbers = SEMANTICS | SEMANTICS_OF_PARTS
    assert (numbers[kind], digest) == (number, pin), (
        f"results of {kind} stages, or the cases that show them, changed (now {digest}). Where the "
        f"same settings and inputs give other results, raise the number of {kind!r} in "
        "config/stage_file.py, so that no finished work of before is reused; where they are sure "
        "to be the same (a case was added, say), leave it. Then update the pin here."
    )


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"sft": {}}, ["bfloat16"]),
        ({"sft": {"loading": {"dtype": "float32"}}}, []),
        ({"codeRL": {}}, ["bfloat16"]),
        ({"mathRL": {"loading": {"dtype": "float32"}}}, []),
        (
            {"mathRL": {"validation": {}, "stop": {"plateau": {"maxSteps": 9}}}},
            ["bfloat16", "plateau"],
        ),
        ({"evaluate": {"sets": [{"name": "a", "file": "a.jsonl"}]}}, []),
        ({"curate": {"passRate": {}}}, ["passRate"]),
        ({"curate": {}}, []),
    ],
    ids=str,
)
def test_a_part_counts_where_a_stage_has_it(
    settings: dict[str, Any], parts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = StageSettings.parse(settings)
    before = semantics_of(stage)
    for part in SEMANTICS_OF_PARTS:
        with monkeypatch.context() as patch:
            patch.setitem(SEMANTICS_OF_PARTS, part, SEMANTICS_OF_PARTS[part] + 1)
            assert semantics_of(stage) == before + (part in parts)
