"""Who reads a published model knows where its answers end."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from acereason_trainer.config.common import ModelLoading
from acereason_trainer.policy.exporting import export_model
from acereason_trainer.policy.loading import (
    chat_end,
    end_tokens,
    load_config,
    load_tokenizer,
    stop_tokens,
)
from transformers import AutoModelForCausalLM

EOS, UNK = 1, 2
ENDED = "{% for m in messages %}[{{ m.role }}]{{ m.content }}<unk>\n{% endfor %}"
"""A template that ends each turn with a special token of its own, as ChatML does."""
BARE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
ASKED_ALONE = "{% for m in messages if m.role == 'user' %}<unk>{{ m.content }}{% endfor %}"
"""Passes over answers; what it begins with ends none."""
PROMPTS_ONLY = (
    "{% for m in messages %}{% if m.role != 'user' %}{{ raise_exception('no') }}{% endif %}"
    "{{ m.content }}{% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "configured", "ends"),
    [
        (ENDED, None, [EOS, UNK]),
        (ENDED, EOS, [EOS, UNK]),
        (ENDED, [UNK, EOS], [EOS, UNK]),
        (BARE, None, EOS),
        (BARE, EOS, EOS),
        (PROMPTS_ONLY, None, EOS),
        (ASKED_ALONE, None, EOS),
        (None, None, EOS),
    ],
)
def test_the_generation_config_names_every_token_that_ends_an_answer(
    tiny_model: Path,
    tmp_path: Path,
    template: str | None,
    configured: int | list[int] | None,
    ends: int | list[int],
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    tokenizer = load_tokenizer(tiny_model)
    model.generation_config.eos_token_id = configured
    tokenizer.chat_template = template
    export_model(model, tokenizer, tmp_path)
    written = json.loads((tmp_path / "generation_config.json").read_text())
    assert written["eos_token_id"] == ends


WRITTEN = {"bos_token_id", "eos_token_id", "pad_token_id", "transformers_version"}
"""What a generation config always may hold."""


@pytest.mark.parametrize(
    ("base", "kept"),
    [
        ({"do_sample": False, "max_new_tokens": 2048}, {}),
        ({"temperature": 0.9, "top_p": 0.6}, {}),
        (
            {"do_sample": True, "temperature": 0.7, "top_k": 20, "repetition_penalty": 1.05},
            {"do_sample": True, "temperature": 0.7, "top_k": 20},
        ),
        ({"do_sample": True, "max_length": 4096}, {"do_sample": True}),
        ({"num_beams": 4, "suppress_tokens": [5], "stop_strings": ["."]}, {}),
    ],
    ids=["a limit", "cannot be written again", "a penalty", "a length", "another search"],
)
def test_no_limit_or_penalty_of_the_bases_is_published(
    tiny_model: Path, tmp_path: Path, base: dict[str, Any], kept: dict[str, Any]
) -> None:
    folder, out = tmp_path / "base", tmp_path / "out"
    shutil.copytree(tiny_model, folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": EOS, **base}))
    export_model(AutoModelForCausalLM.from_pretrained(folder), load_tokenizer(folder), out)
    written = json.loads((out / "generation_config.json").read_text())
    assert written["eos_token_id"] == EOS
    assert {name: value for name, value in written.items() if name not in WRITTEN} == kept


def test_ordinary_text_behind_an_answer_is_no_end(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    tokenizer.chat_template = BARE + "!"
    assert chat_end(tokenizer) is None


@pytest.mark.parametrize("template", [ENDED, BARE, None])
def test_what_ends_a_response_here_ends_one_of_the_published_model_and_writing_it_changes_nothing(
    tiny_model: Path, tmp_path: Path, template: str | None
) -> None:
    """Best weights are written in mid-stage, by one rank of several."""
    config = load_config(tiny_model, ModelLoading(dtype="float32"))
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    tokenizer = load_tokenizer(tiny_model)
    tokenizer.chat_template = template
    before = stop_tokens(model, tokenizer)
    assert before == end_tokens(tiny_model, config, tokenizer), "both samplers'"
    assert (UNK in before) == (template == ENDED)
    export_model(model, tokenizer, tmp_path)
    assert stop_tokens(model, tokenizer) == before
    written = json.loads((tmp_path / "generation_config.json").read_text())["eos_token_id"]
    assert frozenset(written if isinstance(written, list) else [written]) == before
