"""What the plan says is what a step takes, at sizes that can be run here."""

import json
import pickle
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from acereason_trainer.config.common import ModelLoading, Zero
from acereason_trainer.config.model import Model
from acereason_trainer.config.rl import RL
from acereason_trainer.config.sft import SFT, Optimizer
from acereason_trainer.config.vllm import VLLM
from acereason_trainer.policy import head, memory_page, memory_plan, room
from acereason_trainer.policy.memory_check import (
    shape_of,
    what_does_not_fit,
    what_engines_leave_no_room_for,
    what_the_host_lacks,
)
from acereason_trainer.policy.memory_plan import QWEN_7B, QWEN_14B, Shape, activations, plan
from acereason_trainer.policy.torch_policy import TorchPolicy
from acereason_trainer.rollout import weight_buckets
from acereason_trainer.rollout.protocol import Completion, SampleRequest
from transformers import Qwen2Config

from tests.peak_memory import peak_of_tensors
from tests.trainer.policy.small_shape import SHAPE, a_batch, save_model

TOKENS = 2048


def a_policy(tiny_model: Path, directory: Path, dtype: str, recompute: bool) -> TorchPolicy:
    save_model(directory, tiny_model)
    return TorchPolicy(
        directory,
        loading=ModelLoading(dtype=dtype),
        optimizer=Optimizer(learning_rate=1e-4),
        total_steps=None,
        tokens_per_micro_batch=TOKENS,
        activation_checkpointing=recompute,
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("recompute", [False, True])
def test_a_step_takes_what_the_plan_says(
    tiny_model: Path, tmp_path: Path, dtype: str, recompute: bool
) -> None:
    policy = a_policy(tiny_model, tmp_path, dtype, recompute)
    policy.step(a_batch(TOKENS))
    batch = a_batch(TOKENS)
    measured = peak_of_tensors(lambda: policy.step(batch))
    number = {"float32": 4, "bfloat16": 2}[dtype]
    planned = plan(SHAPE, tokens=TOKENS, number=number, recompute=recompute).gpu
    parts = ("gradients", "kept of the tokens", "the output matrix or a layer")
    expected = sum(planned[part] for part in parts)
    assert 0.75 < measured / expected < 1.05, "never more than the plan, and not much less"


@pytest.mark.parametrize(("dtype", "number"), [("float32", 4), ("bfloat16", 2)])
def test_the_host_holds_what_the_plan_says(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, number: int
) -> None:
    """Of one process; of ranks with ZeRO in test_zero_memory.py."""
    monkeypatch.setattr(room, "takes_room", lambda _: True)  # as if it were on a GPU
    policy = a_policy(tiny_model, tmp_path, dtype, recompute=True)
    policy.step(a_batch(TOKENS))
    planned = plan(SHAPE, tokens=TOKENS, number=number, drawn=1).host
    copies: list[Any] = []
    copied = peak_of_tensors(lambda: copies.append(policy.snapshot()))
    assert copied == pytest.approx(planned[memory_plan.COPY], rel=0.01)
    waiting = peak_of_tensors(policy.make_room)
    assert waiting == policy.room_bytes
    assert waiting == pytest.approx(planned[memory_plan.WAITS], rel=0.01)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_logits_in_several_chunks_take_what_the_plan_says(
    monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    """Of a matrix that is large beside all else."""
    shape = replace(SHAPE, hidden=256, vocabulary=16_384)
    for module in (head, memory_plan):
        monkeypatch.setattr(module, "LOGITS_AT_ONCE", 64 * shape.vocabulary)
    output = torch.nn.Linear(shape.hidden, shape.vocabulary, bias=False).to(getattr(torch, dtype))
    hidden = torch.randn(256, shape.hidden).to(output.weight.dtype)
    targets = torch.randint(0, shape.vocabulary, (256,))
    scored, _ = head.Head(output)(hidden, targets, 1.0)
    measured = peak_of_tensors(scored.sum().backward)
    number = output.weight.itemsize
    planned = activations(shape, tokens=256, number=number, recompute=True)
    assert 0.75 < measured / planned["the output matrix or a layer"] < 1.05


def test_the_plan_counts_the_parameters(tiny_model: Path, tmp_path: Path) -> None:
    policy = a_policy(tiny_model, tmp_path, "float32", recompute=False)
    counted = sum(p.numel() for p in policy.model.parameters())
    assert counted == pytest.approx(SHAPE.parameters, rel=0.01)
    assert pytest.approx(7.6e9, rel=0.01) == QWEN_7B.parameters
    assert pytest.approx(14.8e9, rel=0.01) == QWEN_14B.parameters


def test_the_plan_cuts_logits_where_the_head_does() -> None:
    assert memory_plan.LOGITS_AT_ONCE == head.LOGITS_AT_ONCE


def test_the_plan_counts_the_bucket_that_a_push_fills() -> None:
    assert memory_plan.PUSHED_AT_ONCE == weight_buckets.BUCKET


def test_a_response_takes_what_the_plan_says_on_a_rank_that_did_not_draw_it() -> None:
    tokens = 20_000
    request = SampleRequest("1", tuple(range(300, 400)), 0, 1)
    ids = [1000 + 7 * n for n in range(tokens)]  # small ones are shared by all of Python
    logprobs = [-1 / i for i in ids]
    completion = Completion(request, tuple(ids), tuple(logprobs), "stop", "four" * tokens)
    told = pickle.dumps(completion)
    held = memory_plan.ROLLOUT - 12  # without what a step makes of it
    assert 0.8 < held_of(lambda: pickle.loads(told)) / tokens / held < 1.05
    line = json.dumps([ids, logprobs])
    journalled = held_of(lambda: json.loads(line)) / tokens
    assert 0.8 < journalled / memory_plan.JOURNALLED < 1.05


def held_of(make: Callable[[], object]) -> int:
    """Bytes of Python's objects in what is made."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        made = make()
        held = tracemalloc.get_traced_memory()[0] - before
        del made
        return held
    finally:
        tracemalloc.stop()


def test_drawing_takes_of_the_host_and_on_a_gpu_what_an_engine_keeps_while_it_sleeps() -> None:
    told: dict[str, Any] = {"tokens": 1024, "ranks": 8, "zero": Zero()}
    trains, draws = plan(QWEN_7B, **told), plan(QWEN_7B, **told, drawn=10**6)
    asleep = {"an engine that sleeps": memory_plan.ENGINE_ASLEEP}
    assert draws.gpu == trains.gpu | asleep
    assert draws.host.items() > trains.host.items()
    assert draws.host["rollouts, on every rank"] == 8 * memory_plan.ROLLOUT * 10**6


def unfit(shape: Shape, **told: Any) -> str | None:
    eight_of_80_gb = {"gpu": 80e9, "ranks": 8, "zero": Zero(), "number": 2, "recompute": True}
    return what_does_not_fit(shape, **{**eight_of_80_gb, "longest": 0, **told})


def test_a_sequence_longer_than_a_micro_batch_is_planned_for() -> None:
    assert unfit(QWEN_14B, tokens=4096) is None
    sentence = unfit(QWEN_14B, tokens=4096, longest=65_536)
    assert sentence is not None
    assert sentence.startswith("a step with a sequence of 65,536 tokens is planned to take")
    assert "tokensPerMicroBatch" not in sentence, "that would not help"
    lower = unfit(QWEN_14B, tokens=131_072, longest=30_000)
    assert lower is not None
    assert "lower tokensPerMicroBatch (now 131,072) to 32,768" in lower


@pytest.mark.parametrize("shape", [QWEN_7B, QWEN_14B])
@pytest.mark.parametrize("kind", [SFT, RL])
def test_the_papers_models_fit_eight_gpus_with_the_tokens_of_the_default(
    shape: Shape, kind: type[Model]
) -> None:
    tokens = kind.model_fields["tokens_per_micro_batch"].default
    assert tokens == memory_page.TOKENS, "what the page is about"
    assert unfit(shape, tokens=tokens) is None


@pytest.mark.parametrize(
    ("told", "advice"),
    [
        ({"tokens": 65_536}, "lower tokensPerMicroBatch (now 65,536) to 32,768"),
        (
            {"tokens": 65_536, "longest": 20_000},
            "lower tokensPerMicroBatch (now 65,536) to 32,768",
        ),
        ({"tokens": 65_536, "recompute": False, "ranks": 4}, "set activationCheckpointing"),
        ({"tokens": 4096, "ranks": 4, "zero": Zero(stage=2)}, "more GPUs with zero.stage 3"),
        ({"tokens": 4096, "ranks": 2}, "use more GPUs, or set zero.offloadOptimizer"),
        ({"tokens": 4096, "ranks": 1, "zero": None}, "use more GPUs with zero.stage 3"),
    ],
)
def test_a_step_that_does_not_fit_is_told_what_to_do(told: dict[str, Any], advice: str) -> None:
    said = unfit(QWEN_14B, **told)
    assert said is not None
    assert said.startswith("a step is planned to take ")
    assert advice in said


def test_a_models_shape_is_read_from_its_configuration() -> None:
    config = Qwen2Config(
        vocab_size=152_064,
        hidden_size=3584,
        intermediate_size=18_944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        tie_word_embeddings=False,
    )
    assert shape_of(config) == QWEN_7B
    config.num_experts = 8
    assert shape_of(config) is None


def beside(
    shape: Shape, zero: Zero | None, *, ranks: int = 8, gpu: float = 80e9, **engines: Any
) -> str | None:
    memory = plan(shape, tokens=32_768, ranks=ranks, zero=zero, drawn=1)
    return what_engines_leave_no_room_for(
        shape,
        memory,
        gpu=int(gpu),
        vllm=VLLM(**engines),
        longest=32_768,
        ranks=ranks,
        ranks_per_node=min(ranks, 8),
        zero=zero,
        number=2,
    )


def test_the_papers_models_fit_beside_their_engines_as_they_are_by_default() -> None:
    assert beside(QWEN_7B, Zero()) is None
    assert beside(QWEN_14B, Zero()) is None


def test_weights_that_an_engine_leaves_no_room_for_are_told_of_with_a_share_that_does() -> None:
    sentence = beside(QWEN_7B, Zero(stage=2), memory_share=0.8)
    assert sentence is not None
    assert "15 GB of the trainer are planned to stay on each GPU while vllm draws" in sentence
    assert "lower vllm.memoryShare (now 0.8) to 0.7" in sentence
    assert beside(QWEN_7B, Zero(stage=2), memory_share=0.7) is None


@pytest.mark.parametrize(("gib", "lower"), [(8.0, None), (60.0, "(now 60) to 35")])
def test_a_cache_of_a_given_size_counts_in_the_place_of_a_share(
    gib: float, lower: str | None
) -> None:
    sentence = beside(QWEN_7B, Zero(stage=2), memory_share=0.9, cache_gib=gib)
    assert (sentence is None) is (lower is None)
    assert lower is None or f"lower vllm.cacheGib {lower}" in str(sentence)
    assert beside(QWEN_7B, Zero(stage=2), cache_gib=35.0) is None


@pytest.mark.parametrize(
    ("shape", "told", "advice"),
    [
        (QWEN_14B, {"zero": Zero(stage=2), "gpu": 40e9}, "use zero.stage 3"),
        (QWEN_7B, {"zero": None, "ranks": 1, "gpu": 24e9}, "use more GPUs, or larger ones"),
        (QWEN_14B, {"zero": Zero(), "gpu": 24e9}, "raise vllm.tensorParallel (now 1)"),
        (QWEN_14B, {"zero": Zero(), "gpu": 50e9, "memory_share": 0.85}, "raise vllm.tensorPar"),
        (QWEN_14B, {"zero": Zero(), "gpu": 24e9, "cache_gib": 8.0}, "raise vllm.tensorParallel"),
        (QWEN_14B, {"zero": Zero(), "gpu": 12e9}, "use more GPUs, or larger ones"),
        (QWEN_14B, {"zero": Zero(), "gpu": 12e9, "cache_gib": 8.0}, "use more GPUs, or larger"),
        # It would fit over 8 GPUs, which do not divide 28 heads.
        (QWEN_7B, {"zero": Zero(), "gpu": 11.2e9}, "use more GPUs, or larger ones"),
        (
            QWEN_14B,
            {"zero": Zero(), "ranks": 32, "gpu": 8e9, "tensor_parallel": 8},
            "use more GPUs, or larger ones",
        ),
    ],
)
def test_no_share_is_advised_in_which_an_engine_has_no_room_itself(
    shape: Shape, told: dict[str, Any], advice: str
) -> None:
    assert advice in str(beside(shape, **told))


def lacking(host: float, *, drawn: int = 0, ranks: int = 8, offload: bool = False) -> str | None:
    zero = Zero(stage=3, offload_optimizer=offload)
    memory = plan(QWEN_14B, tokens=32_768, ranks=ranks, zero=zero, drawn=drawn)
    return what_the_host_lacks(memory, host=int(host))


@pytest.mark.parametrize(
    ("told", "most"),
    [
        ({"offload": True}, "236: optimizer, offloaded"),
        ({"drawn": 1}, "236: what waits while vllm draws"),
    ],
)
def test_a_host_that_cannot_hold_what_must_be_there_is_told_of(
    told: dict[str, Any], most: str
) -> None:
    sentence = lacking(200e9, **told)
    assert sentence is not None
    assert f"(the most, {most}), and 200 are available" in sentence
    assert lacking(290e9, **told) is None
    assert lacking(200e9, **told, ranks=16) is None, "two nodes"


def test_rollouts_that_a_host_cannot_hold_are_told_of() -> None:
    assert lacking(300e9, drawn=10**7) is None
    assert lacking(300e9, drawn=10**8) is not None


def test_what_stays_on_a_gpu_without_anybody_drawing_there_needs_no_host() -> None:
    assert lacking(1e9) is None


def test_a_whole_model_that_draws_beside_a_step_is_planned_for() -> None:
    assert unfit(QWEN_14B, tokens=32_768) is None
    assert unfit(QWEN_14B, tokens=32_768, sampler=30 * 10**9) is not None
