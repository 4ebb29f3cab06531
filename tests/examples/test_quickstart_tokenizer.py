"""The quickstart's tokenizer: short prompts in the papers' form, nothing lost, everything fits."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml
from acereason_trainer.config.common import Prompting
from acereason_trainer.config.curate import Columns
from acereason_trainer.dataset import as_row
from acereason_trainer.prompting import prompt_text, render_prompt, response_after_prompt

from examples.quickstart.make_data import CODE, MATH
from examples.quickstart.tokenizer import save_tokenizer, train_tokenizer
from examples.tasks import rows

EXAMPLES = Path(__file__).parents[2] / "examples"
SAMPLE = [*islice(rows.sft_math(MATH, 0), 1500), *islice(rows.sft_code(CODE, 0), 1500)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The tokenizer as a user's program loads it from its directory."""
    from transformers import AutoTokenizer

    directory = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(train_tokenizer(r["problem"] + r["response"] for r in SAMPLE), directory)
    (directory / "config.json").write_bytes((EXAMPLES / "quickstart" / "model.json").read_bytes())
    return AutoTokenizer.from_pretrained(directory)


def test_it_fits_the_model_and_its_special_tokens(
    tokenizer: Any,
) -> None:
    model = json.loads((EXAMPLES / "quickstart" / "model.json").read_text())

    assert len(tokenizer) <= model["vocab_size"]
    assert tokenizer.eos_token_id == model["eos_token_id"]
    assert tokenizer.pad_token_id == model["pad_token_id"]


@pytest.mark.parametrize("number", [0, 7, 10, 42, 99])
def test_a_number_is_one_token_and_the_same_one_wherever_it_stands(
    tokenizer: Any, number: int
) -> None:
    alone = tokenizer(str(number), add_special_tokens=False)["input_ids"]

    assert len(alone) == 1
    for text in (f"Ann has {number} eggs.", f"8+{number}=9", f"if x > {number}]"):
        assert alone[0] in tokenizer(text, add_special_tokens=False)["input_ids"]


def test_an_instruction_is_one_token(tokenizer: Any) -> None:
    prompting = Prompting()
    for text in (prompting.math_instruction, prompting.code_instruction):
        assert len(tokenizer(text, add_special_tokens=False)["input_ids"]) == 1


def test_no_text_is_lost(tokenizer: Any) -> None:
    for row in SAMPLE:
        for text in (row["problem"], row["response"]):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            assert tokenizer.decode(ids) == text


def test_a_prompt_has_the_papers_form(tokenizer: Any) -> None:
    row = as_row({"problem": "Ann has 8 eggs.", "answer": "8"}, Columns(), "here")

    assert prompt_text(row, Prompting(), tokenizer) == (
        "<｜User｜>Ann has 8 eggs.\n\nPlease place your final answer inside \\boxed{}."  # noqa: RUF001
        "<｜Assistant｜><think>\n"  # noqa: RUF001
    )


def test_every_document_fits_the_quickstarts_rows_and_last_stages(tokenizer: Any) -> None:
    run = yaml.safe_load((EXAMPLES / "quickstart.yaml").read_text())
    stages = {stage["name"]: stage for stage in run["spec"]["stages"]}
    prompting = Prompting()
    for raw in SAMPLE:
        row = as_row(raw, Columns(), "here")
        prompt = render_prompt(row, prompting, tokenizer)
        text = response_after_prompt(raw["response"], prompting)
        response = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        assert len(prompt) + len(response) <= stages["sft"]["sft"]["rowTokens"]
        assert len(response) <= stages["math-3"]["mathRL"]["maxResponseTokens"]
        assert len(response) <= stages["code"]["codeRL"]["maxResponseTokens"]
