"""Models that would be sampled and trained as others are refused before their weights are read."""

from pathlib import Path
from typing import Any

import pytest
import torch
from acereason_trainer.config.common import ModelLoading
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.sources import FROM_CONFIG
from acereason_trainer.policy.loading import check_context, load_config, load_model
from acereason_trainer.rollout.making import overrides
from acereason_trainer.stage import StageFailure
from transformers import AutoConfig, AutoModelForCausalLM

LOADING = ModelLoading(dtype="float32")
SMALL = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 32,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
}


def a_config(kind: str, **settings: Any) -> Any:
    return AutoConfig.for_model(kind, **{**SMALL, **settings})


REFUSED = [
    ("gemma2", {}, "final_logit_softcapping 30.0", "a cap on the logits"),
    ("granite", {"logits_scaling": 8.0}, "logits_scaling 8.0", "logits are divided"),
    ("cohere", {}, "logit_scale 0.0625", "logits are multiplied"),
    ("gemma3_text", {}, "sliding_attention", "some layers have a window"),
    (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
        "sliding_attention",
        "a window that was switched on",
    ),
    ("mistral", {"sliding_window": 8}, "sliding_window 8", "a window for all layers"),
]


@pytest.mark.parametrize(
    ("kind", "settings", "part", "why"), REFUSED, ids=[f"{c[0]}: {c[3]}" for c in REFUSED]
)
def test_a_model_that_does_more_is_refused_before_its_weights_are_read(
    tmp_path: Path, kind: str, settings: dict[str, Any], part: str, why: str
) -> None:
    a_config(kind, **settings).save_pretrained(tmp_path)
    with pytest.raises(StageFailure, match=part) as e:
        load_model(tmp_path, LOADING)
    assert (e.value.code, e.value.reason) == (ExitCode.BAD_CONFIGURATION, "UnsupportedModel")
    assert kind in str(e.value)


TAKEN = [
    ("qwen2", {"sliding_window": 8}, "its window is switched off"),
    ("qwen2", {"use_sliding_window": True, "max_window_layers": 2}, "no layer is beyond the full"),
    ("qwen3", {"head_dim": 8}, "the plain case"),
    ("llama", {}, "the plain case"),
    ("mistral", {"sliding_window": None}, "no window, as in Mistral from 0.2 on"),
    ("phi3", {"sliding_window": 4096}, "a window that is longer than what the model reads"),
    ("granite", {"logits_scaling": 1.0}, "a scale of 1"),
    ("cohere", {"logit_scale": 1.0}, "a scale of 1"),
]


@pytest.mark.parametrize(("kind", "settings", "why"), TAKEN, ids=[f"{c[0]}: {c[2]}" for c in TAKEN])
def test_a_model_that_is_taken_has_the_logits_that_body_and_head_give(
    tmp_path: Path, kind: str, settings: dict[str, Any], why: str
) -> None:
    AutoModelForCausalLM.from_config(a_config(kind, **settings)).save_pretrained(tmp_path)
    model = load_model(tmp_path, LOADING)
    ids = torch.arange(24)[None]
    mask = torch.ones(24, 24, dtype=torch.bool).tril()[None, None]
    with torch.inference_mode():
        hidden = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
        torch.testing.assert_close(model.get_output_embeddings()(hidden), model(ids).logits)


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
FITS = [
    ({}, None, 64, True, "just as long"),
    ({}, None, 65, False, "one token more"),
    ({}, 1e6, 10_000, True, "a rotary base of the user's own"),
    ({"rope_scaling": YARN}, None, 256, True, "YaRN stretches the configured length"),
    ({"rope_scaling": YARN}, None, 257, False, "YaRN has an end, too"),
]


@pytest.mark.parametrize(
    ("settings", "rope_theta", "tokens", "fits", "why"), FITS, ids=[c[4] for c in FITS]
)
def test_sequences_that_are_longer_than_the_model_reads_are_refused_with_the_numbers(
    settings: dict[str, Any], rope_theta: float | None, tokens: int, fits: bool, why: str
) -> None:
    config = a_config("qwen2", **settings)
    loading = ModelLoading(rope_theta=rope_theta)
    if fits:
        check_context(config, tokens, loading)
        return
    with pytest.raises(StageFailure, match=f"{tokens} tokens .* reads {tokens - 1} ") as e:
        check_context(config, tokens, loading)
    assert e.value.code == ExitCode.BAD_CONFIGURATION
    assert "set loading.maxPositionEmbeddings, with a loading.ropeTheta" in str(e.value)


def test_a_longer_context_is_in_the_trainer_and_in_what_it_saves(tmp_path: Path) -> None:
    """transformers 5 reads the rotary base of `rope_parameters` alone."""
    AutoModelForCausalLM.from_config(a_config("qwen2")).save_pretrained(tmp_path / "base")
    loading = ModelLoading(dtype="float32", rope_theta=1e6, max_position_embeddings=4096)
    model = load_model(tmp_path / "base", loading)
    model.save_pretrained(tmp_path / "saved")
    saved = load_model(tmp_path / "saved", LOADING)
    size = model.config.hidden_size // model.config.num_attention_heads
    frequencies = 1e6 ** -(torch.arange(0, size, 2) / size)
    for one in (model, saved):
        assert torch.allclose(one.base_model.rotary_emb.inv_freq, frequencies)
        assert one.config.max_position_embeddings == 4096


def test_random_weights_in_bfloat16_turn_by_the_frequencies_that_their_copy_reads(
    tmp_path: Path,
) -> None:
    """Rounded ones are 0.4 % off: another model within a few hundred tokens."""
    a_config("qwen2").save_pretrained(tmp_path / "base")
    (tmp_path / "base" / FROM_CONFIG).write_text('{"seed": 0}')
    model = load_model(tmp_path / "base", ModelLoading(dtype="bfloat16"))
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    model.save_pretrained(tmp_path / "saved")
    saved = load_model(tmp_path / "saved", ModelLoading(dtype="bfloat16"))
    made, read = (one.base_model.rotary_emb.inv_freq for one in (model, saved))
    assert made.dtype == torch.float32
    assert torch.equal(made, read)


@pytest.mark.parametrize("kind", ["gpt2", "opt"])
def test_a_model_without_rotary_positions_is_refused_where_a_setting_needs_them(
    tmp_path: Path, kind: str
) -> None:
    AutoConfig.for_model(kind).save_pretrained(tmp_path)
    with pytest.raises(StageFailure, match=f"the {kind} model .* loading.ropeTheta needs") as e:
        load_config(tmp_path, ModelLoading(rope_theta=1e6))
    assert (e.value.code, e.value.reason) == (ExitCode.BAD_CONFIGURATION, "UnsupportedModel")
    with pytest.raises(StageFailure, match=f"the {kind} model .* sampler: vllm needs") as e:
        overrides(load_config(tmp_path, LOADING), longest=64)
    assert e.value.code == ExitCode.BAD_CONFIGURATION


def test_a_context_of_the_users_own_is_a_limit() -> None:
    loading = ModelLoading(rope_theta=1e6, max_position_embeddings=128)
    check_context(a_config("qwen2"), 128, loading)
    with pytest.raises(StageFailure, match=r"129 tokens, .*maxPositionEmbeddings is 128"):
        check_context(a_config("qwen2"), 129, loading)
