"""Prompts in the papers' form, rendered by a real tokenizer."""

from typing import Any

import pytest
from acereason_trainer.config.common import Prompting
from acereason_trainer.dataset import Row
from acereason_trainer.prompting import (
    prompt_text,
    question,
    render_prompt,
    require_single_think,
    response_after_prompt,
)
from acereason_trainer.stage import StageFailure
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

MATH = Row("m", {"problem": "What is 2 + 2?", "answer": "4"})
CODE = Row("c", {"problem": "Print 1.", "tests": [{"input": "", "output": "1"}]})
CALLED = Row("f", {**CODE.data, "starter": "def f(x):"})
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    roles = ["<|im_start|>", "<|im_end|>", "<think>", "</think>"]
    characters = [chr(c) for c in range(32, 127)] + ["\n"]
    vocabulary = {token: i for i, token in enumerate(["<unk>", *roles, *characters])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    core.decoder = decoders.Fuse()
    core.add_tokens(roles)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", eos_token="<|im_end|>", chat_template=CHATML
    )


def test_a_math_prompt_is_1_1s_card_word_for_word(tokenizer: Any) -> None:
    system = "You are a helpful and harmless assistant. You should think step-by-step."
    assert prompt_text(MATH, Prompting(system=system), tokenizer) == (
        f"<|im_start|>system\n{system}<|im_end|>\n"
        "<|im_start|>user\nWhat is 2 + 2?\n\n"
        "Please place your final answer inside \\boxed{}.<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n"
    )


def test_a_code_question_asks_for_one_python_block() -> None:
    assert question(CODE, Prompting()) == (
        "Print 1.\n\nWrite Python code to solve the problem. Please place the solution code in the "
        "following format:\n```python\n# Your solution code here\n```"
    )


def test_a_call_based_question_shows_its_header_first() -> None:
    assert question(CALLED, Prompting()) == (
        "Print 1.\n\nSolve the problem starting with the provided function header.\n\n"
        "Function header:\n```\ndef f(x):\n```\n\n"
        "Please place the solution code in the following format:\n"
        "```python\n# Your solution code here\n```"
    )


def test_the_ids_are_the_texts_own(tokenizer: Any) -> None:
    ids = render_prompt(MATH, Prompting(), tokenizer)
    assert tokenizer.decode(ids) == prompt_text(MATH, Prompting(), tokenizer)
    assert ids.count(tokenizer.convert_tokens_to_ids("<think>")) == 1


@pytest.mark.parametrize("opening", ["<think>\n", "<think>"])
def test_a_template_that_opens_think_itself_is_not_opened_twice(
    tokenizer: Any, opening: str
) -> None:
    with_think = CHATML.replace("assistant\n{% endif", f"assistant\n{opening}{{% endif")
    before, tokenizer.chat_template = tokenizer.chat_template, with_think
    text = prompt_text(MATH, Prompting(), tokenizer)
    tokenizer.chat_template = before
    assert text.count("<think>") == 1


def test_plain_has_no_role_tokens(tokenizer: Any) -> None:
    assert prompt_text(MATH, Prompting(template="plain"), tokenizer) == (
        "What is 2 + 2?\n\nPlease place your final answer inside \\boxed{}.\n\n<think>\n"
    )


def test_a_tokenizer_without_a_template_says_what_to_set(tokenizer: Any) -> None:
    before, tokenizer.chat_template = tokenizer.chat_template, None
    with pytest.raises(StageFailure, match=r"set prompting\.template: plain"):
        prompt_text(MATH, Prompting(), tokenizer)
    tokenizer.chat_template = before


@pytest.mark.parametrize(
    ("response", "after", "why"),
    [
        ("<think>\nso\n</think>\n4", "so\n</think>\n4", "R1's answers open it themselves"),
        ("so\n</think>\n4", "so\n</think>\n4", "already without"),
        ("\n<think>so", "so", "space before it"),
    ],
)
def test_a_worked_answer_goes_on_after_the_prompts_think(
    response: str, after: str, why: str
) -> None:
    assert response_after_prompt(response, Prompting()) == after


@pytest.mark.parametrize("opened", ["<think>\n\n</think>\n\n", "<think> "])
def test_a_template_that_opens_think_by_itself_is_refused(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch, opened: str
) -> None:
    template = "{{ messages[0].content }}[assistant]" + opened + "Well: "
    monkeypatch.setattr(tokenizer, "chat_template", template)
    with pytest.raises(StageFailure, match=r"writes <think> .*thinkOpen opens it again"):
        prompt_text(MATH, Prompting(), tokenizer)


def test_a_problem_about_think_is_none_that_opens_it_twice(tokenizer: Any) -> None:
    row = Row("a", {"problem": "What does <think> mean?", "answer": "1"}, "")
    assert prompt_text(row, Prompting(), tokenizer).count("<think>") == 2


def test_an_answer_that_opens_think_twice_is_refused_with_its_row() -> None:
    row = Row("a", {"problem": "p", "response": "<think>\n<think>so"}, "rows.jsonl line 3")
    with pytest.raises(StageFailure, match=r"rows\.jsonl line 3 begins with <think> twice"):
        require_single_think(row, Prompting())
    plain = Row("a", {"problem": "p", "response": "<think>\n<think>so"}, "")
    require_single_think(plain, Prompting(think_open=""))
