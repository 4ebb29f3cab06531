"""Use of devices: shares and rates of made-up steps; a model's arithmetic as torch counts it."""

from pathlib import Path

import pytest
import torch
from acereason_trainer.config.common import ModelLoading, Telemetry
from acereason_trainer.policy.flops import Arithmetic, arithmetic_of, peak_flops, peak_of
from acereason_trainer.telemetry.speed import Work, speed_of
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2MoeConfig

STEP = {
    "step_seconds": 100.0,
    "generate_seconds": 70.0,
    "train_seconds": 20.0,
    "reward_wait_seconds": 5.0,
    "save_seconds": 2.0,
    "push_seconds": 3.0,
}


def work(**of: float | None) -> Work:
    return Work(**{"tokens": 8000, "drawing_seconds": 70.0, "devices": 4, **of})


def test_idle_is_what_neither_draws_nor_trains() -> None:
    assert speed_of(work(), STEP)["idle_share"] == pytest.approx(0.07)


def test_a_device_that_waits_for_a_slower_one_is_idle_meanwhile() -> None:
    assert speed_of(work(drawing_seconds=35.0), STEP)["idle_share"] == pytest.approx(0.42)


def test_tokens_are_counted_for_each_device_over_the_whole_step() -> None:
    assert speed_of(work(), STEP)["device_tokens_per_second"] == 20.0


def test_mfu_is_a_share_of_what_all_devices_could_do() -> None:
    used = speed_of(work(flops=2e16, peak_flops=1e15), STEP)
    assert used["mfu"] == pytest.approx(0.05)


@pytest.mark.parametrize("unknown", [{"flops": 1e15}, {"peak_flops": 1e15}])
def test_there_is_no_mfu_where_half_of_it_is_not_known(unknown: dict[str, float]) -> None:
    assert "mfu" not in speed_of(work(**unknown), STEP)


@pytest.mark.parametrize("tied", [True, False])
def test_a_models_arithmetic_is_what_torch_counts(tmp_path: Path, tied: bool) -> None:
    config = Qwen2Config(
        vocab_size=101, hidden_size=32, intermediate_size=48, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=tied,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    model.save_pretrained(tmp_path)
    length = 24
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        model(torch.zeros(1, length, dtype=torch.long))
    ours = arithmetic_of(tmp_path)
    assert ours is not None
    # torch counts whole attention squares, and the rotary positions' outer product.
    whole_squares = ours.reading(length) + 2 * ours.attention * length**2
    assert whole_squares == pytest.approx(counted.get_total_flops(), rel=0.002)


def test_a_mixture_of_experts_has_no_account(tmp_path: Path) -> None:
    Qwen2MoeConfig(num_experts=4).save_pretrained(tmp_path)
    assert arithmetic_of(tmp_path) is None


def test_a_response_costs_what_lies_between_two_lengths() -> None:
    a = Arithmetic(weights=10, attention=3)
    assert a.reading(5) + a.writing(5, 7) == a.reading(12)
    assert a.training([12, 5]) == 3 * (a.reading(12) + a.reading(5))


def test_what_a_device_can_do_is_told_or_looked_up_and_never_guessed() -> None:
    bfloat16 = ModelLoading()
    assert peak_flops(bfloat16, Telemetry(peak_tflops=2.5)) == 2.5e12
    if not torch.cuda.is_available():
        assert peak_flops(bfloat16, Telemetry()) is None


@pytest.mark.parametrize(
    ("device", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835),
        ("NVIDIA GH200 480GB", 989),
        ("NVIDIA H200", 989),
        ("NVIDIA H200 NVL", 835),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA L40", 181),
        ("NVIDIA L40S", 362),
        ("NVIDIA L4", 121),
        ("NVIDIA GeForce RTX 4090", None),
        ("NVIDIA L400", None),
    ],
)
def test_a_peak_is_known_by_whole_words_and_never_guessed(
    device: str, tflops: float | None
) -> None:
    assert peak_of(device) == (None if tflops is None else tflops * 1e12)
