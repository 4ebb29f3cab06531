"""Truncated importance weights, how far the sampler is, and what leaving out zeros costs."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from acereason_trainer.config.common import ModelLoading
from acereason_trainer.config.sft import Optimizer
from acereason_trainer.policy.forward import Scoring
from acereason_trainer.policy.loading import load_model
from acereason_trainer.policy.loss import log_ratio, weights_of
from acereason_trainer.policy.micro_batches import micro_batches
from acereason_trainer.policy.protocol import Batch, Update
from acereason_trainer.policy.torch_policy import TorchPolicy
from torch import Tensor

FLOAT32 = ModelLoading(dtype="float32")
CPU = torch.device("cpu")


def a_batch(n: int = 6) -> Batch:
    """`n` sequences with 4 tokens of prompt, every other one to be made less likely."""
    generator = torch.Generator().manual_seed(0)
    lengths = [int(x) for x in torch.randint(8, 30, (n,), generator=generator)]
    return Batch(
        sequences=[torch.randint(3, 90, (k,), generator=generator).tolist() for k in lengths],
        prompt_lengths=[4] * n,
        token_weights=[torch.full((k - 4,), (-1.0) ** i / 50) for i, k in enumerate(lengths)],
        temperature=0.8,
    )


def own_logprobs(model: Path, batch: Batch) -> list[Tensor]:
    """What a sampler with the trainer's very weights reports."""
    scoring = Scoring(load_model(model, FLOAT32), recompute=False)
    found = []
    for i in range(len(batch.sequences)):
        one = replace(
            batch,
            sequences=[batch.sequences[i]],
            prompt_lengths=[4],
            token_weights=[batch.token_weights[i]],
        )
        (part,) = micro_batches(one, 4096, CPU)
        with torch.no_grad():
            found.append(scoring(*part.inputs, batch.temperature)[0])
    return found


def stepped(model: Path, batch: Batch) -> tuple[Update, list[Tensor]]:
    """One optimizer step of a fresh policy, and its weights after it."""
    policy = TorchPolicy(
        model,
        loading=FLOAT32,
        optimizer=Optimizer(learning_rate=1e-2, grad_clip=1e9, betas=(0.0, 0.0)),
        total_steps=None,
        tokens_per_micro_batch=64,
    )
    update = policy.step(batch)
    return update, [p.detach().clone() for p in policy.model.parameters()]


def shifted(logprobs: list[Tensor], by: float) -> list[Tensor]:
    """As a sampler reports them that finds every token e^-by times as likely."""
    return [p - by for p in logprobs]


def test_where_sampler_and_trainer_agree_the_weights_change_nothing(tiny_model: Path) -> None:
    batch = a_batch()
    batch = replace(batch, sampler_logprobs=own_logprobs(tiny_model, batch))
    plain, _ = stepped(tiny_model, batch)
    weighed, _ = stepped(tiny_model, replace(batch, importance_cap=2.0))
    assert weighed.loss == pytest.approx(plain.loss, rel=1e-4)
    assert weighed.grad_norm == pytest.approx(plain.grad_norm, rel=1e-4)
    assert plain.mismatch_kl < 1e-9
    assert plain.mismatch_share == 0


@pytest.mark.parametrize(
    ("by", "factor"), [(math.log(1.5), 1.5), (math.log(5), 2.0), (-1.0, 0.368)]
)
def test_each_token_weighs_the_ratio_and_at_most_the_cap(
    tiny_model: Path, by: float, factor: float
) -> None:
    batch = a_batch()
    own = own_logprobs(tiny_model, batch)
    plain, _ = stepped(tiny_model, batch)
    other = replace(batch, sampler_logprobs=shifted(own, by), importance_cap=2.0)
    weighed, _ = stepped(tiny_model, other)
    assert weighed.loss == pytest.approx(factor * plain.loss, rel=1e-3)
    assert weighed.grad_norm == pytest.approx(factor * plain.grad_norm, rel=1e-3)
    ratio = math.exp(by)
    assert weighed.mismatch_kl == pytest.approx(ratio - 1 - by, rel=1e-3)
    assert weighed.mismatch_share == 1


def test_without_a_cap_the_sampler_is_measured_and_nothing_else(tiny_model: Path) -> None:
    batch = a_batch()
    far = replace(batch, sampler_logprobs=shifted(own_logprobs(tiny_model, batch), 1.0))
    plain, weights = stepped(tiny_model, batch)
    measured, same = stepped(tiny_model, far)
    assert (measured.loss, measured.grad_norm) == (plain.loss, plain.grad_norm)
    assert all(torch.equal(a, b) for a, b in zip(weights, same, strict=True))
    assert measured.mismatch_share == 1


@pytest.mark.parametrize("reported", [math.nan, -1e30, -math.inf])
def test_no_report_of_a_sampler_makes_a_weight_that_is_no_number(reported: float) -> None:
    batch = replace(a_batch(1), importance_cap=2.0)
    reports = torch.full_like(batch.token_weights[0], reported)
    (part,) = micro_batches(replace(batch, sampler_logprobs=[reports]), 4096, CPU)
    logprobs = torch.full_like(part.weights, -0.5, requires_grad=True)
    weights = weights_of(part, logprobs)
    assert bool(weights.isfinite().all())
    assert not weights.requires_grad
    if math.isnan(reported):
        assert not log_ratio(part, logprobs).any()
        assert torch.equal(weights, part.weights)


def test_leaving_out_sequences_of_weight_zero_leaves_the_gradient_as_it_is(
    tiny_model: Path,
) -> None:
    """Up to the order of summation: a zero adds nothing, but without it others share a pass."""
    batch = a_batch(9)
    kept = [0, 3, 4, 7]
    zeroed = [w if i in kept else w * 0 for i, w in enumerate(batch.token_weights)]
    whole, all_weights = stepped(tiny_model, replace(batch, token_weights=zeroed))
    part, some_weights = stepped(
        tiny_model,
        replace(
            batch,
            sequences=[batch.sequences[i] for i in kept],
            prompt_lengths=[4] * len(kept),
            token_weights=[batch.token_weights[i] for i in kept],
        ),
    )
    assert part.loss == pytest.approx(whole.loss, rel=1e-5)
    assert part.grad_norm == pytest.approx(whole.grad_norm, rel=1e-5)
    assert part.tokens < whole.tokens
    for a, b in zip(all_weights, some_weights, strict=True):
        assert torch.allclose(a, b, atol=1e-4), "AdamW's first step is the gradient's sign"
