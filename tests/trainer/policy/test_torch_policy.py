"""One optimizer step: the same whatever the layout, and exactly the same after a save."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from acereason_trainer.config.common import ModelLoading
from acereason_trainer.config.sft import Optimizer
from acereason_trainer.policy import head
from acereason_trainer.policy.attention import Documents
from acereason_trainer.policy.micro_batches import group_rows
from acereason_trainer.policy.protocol import Batch
from acereason_trainer.policy.schedule import learning_rate
from acereason_trainer.policy.torch_policy import TorchPolicy
from acereason_trainer.stage import StageFailure, Stopped

from tests.trainer.policy.batches import LENGTH, a_batch, many_small_gradients


def a_policy(
    directory: Path, *, budget: int = 4096, dtype: str = "float32", **options: Any
) -> TorchPolicy:
    return TorchPolicy(
        directory,
        loading=ModelLoading(dtype=dtype),
        optimizer=Optimizer(learning_rate=1e-3, grad_clip=1e9),
        total_steps=10,
        tokens_per_micro_batch=budget,
        **options,
    )


def weights(policy: TorchPolicy) -> torch.Tensor:
    return torch.cat([p.detach().float().flatten() for p in policy.model.parameters()])


@pytest.mark.parametrize("layout", ["packed", "padded"])
@pytest.mark.parametrize("budget", [16, 64, 4096])
def test_micro_batches_of_any_size_give_the_same_step(tiny_model: Path, budget: int, layout: str):
    whole = a_policy(tiny_model, layout=layout)
    cut = a_policy(tiny_model, budget=budget, layout=layout)
    a, b = whole.step(a_batch()), cut.step(a_batch())
    assert a.loss == pytest.approx(b.loss, rel=1e-4, abs=1e-6)
    assert a.grad_norm == pytest.approx(b.grad_norm, rel=1e-4)


def test_documents_of_one_row_under_a_mask_never_see_each_other(tiny_model: Path):
    alone, masked = (a_policy(tiny_model, layout="padded") for _ in range(2))
    a = alone.step(a_batch())
    b = masked.step(a_batch(rows=[[0, 3, 1], [5, 2], [4]]))
    assert a.loss == pytest.approx(b.loss, rel=1e-4, abs=1e-6)
    assert a.grad_norm == pytest.approx(b.grad_norm, rel=1e-4)
    assert a.entropy == pytest.approx(b.entropy, rel=1e-4)


@pytest.mark.parametrize("budget", [32, 64, 4096])
@pytest.mark.parametrize("rows", [None, [[0, 3, 1], [5, 2], [4]]])
def test_sequences_behind_one_another_are_as_good_as_alone(
    tiny_model: Path, budget: int, rows: list[list[int]] | None
):
    padded, packed = a_policy(tiny_model, layout="padded"), a_policy(tiny_model, budget=budget)
    a, b = padded.step(a_batch()), packed.step(a_batch(rows=rows))
    assert a.loss == pytest.approx(b.loss, rel=1e-4, abs=1e-6)
    assert a.grad_norm == pytest.approx(b.grad_norm, rel=1e-4)
    assert a.entropy == pytest.approx(b.entropy, rel=1e-4)
    assert a.tokens == b.tokens


def test_no_token_behind_a_document_changes_what_is_said_of_it(tiny_model: Path):
    """To the bit, in either direction."""
    policy = a_policy(tiny_model)
    first, second, other = [5, 6, 7, 8], [9, 10, 11], [40, 41, 42]

    def scored(*documents: list[int]) -> list[torch.Tensor]:
        tokens = torch.tensor([token for document in documents for token in document])
        lengths = [len(document) for document in documents]
        positions = torch.cat([torch.arange(n) for n in lengths])
        found, _ = policy._scoring(
            tokens[None],
            positions[None],
            None,
            Documents.of(lengths, policy.device),
            torch.zeros(len(tokens), dtype=torch.long),
            torch.arange(len(tokens)),
            tokens,
            1.0,
        )
        return list(found.split(lengths))

    assert torch.equal(scored(first, second)[0], scored(first, other)[0])
    assert torch.equal(scored(first, second)[1], scored([6, 5, 4, 3], second)[1])
    assert not torch.equal(scored(first, second)[1], scored(first, other)[1])


def test_a_sampler_of_packed_weights_sees_what_one_of_padded_weights_sees(tiny_model: Path):
    """The module is shared: outside of training it attends as ever, bit for bit."""
    tokens = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
    padded = a_policy(tiny_model, layout="padded").model(tokens).logits
    assert torch.equal(a_policy(tiny_model).model(tokens).logits, padded)


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_sequences_are_scored_together_as_each_is_alone(tiny_model: Path, layout: str):
    policy = a_policy(tiny_model, layout=layout)
    sequences = [[5, 6, 7, 8, 9], [10, 11], [12, 13, 14, 15, 16, 17, 18]]
    together = policy.logprobs(sequences)
    assert [len(scored) for scored in together] == [4, 1, 6]
    for sequence, scored in zip(sequences, together, strict=True):
        assert torch.allclose(scored, policy.logprobs([sequence])[0], atol=1e-6)


def test_a_model_that_forgets_where_documents_end_is_refused(tiny_model: Path):
    policy = a_policy(tiny_model)
    policy.model.config._attn_implementation = "sdpa"
    with pytest.raises(StageFailure, match="cannot be kept within a document; set layout: padded"):
        policy.step(a_batch())


def test_the_gradient_is_that_of_weighted_log_probability(tiny_model: Path):
    policy, batch = a_policy(tiny_model), a_batch(n=2)
    model = a_policy(tiny_model).model
    loss = torch.zeros(())
    for sequence, prompt, weight in zip(
        batch.sequences, batch.prompt_lengths, batch.token_weights, strict=True
    ):
        logits = model(torch.tensor([sequence])).logits[0, prompt - 1 : -1] / 0.8
        log_p = torch.log_softmax(logits, -1)[range(len(logits)), sequence[prompt:]]
        loss = loss - (weight * log_p).sum()
    loss.backward()
    norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    update = policy.step(batch)
    assert update.loss == pytest.approx(loss.item(), rel=1e-4, abs=1e-6)
    assert update.grad_norm == pytest.approx(norm.item(), rel=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_loaded_state_goes_on_bit_for_bit(tiny_model: Path, tmp_path: Path, dtype: str):
    straight = a_policy(tiny_model, dtype=dtype)
    straight.step(a_batch(seed=1))
    straight.save_state(tmp_path)
    resumed = a_policy(tiny_model, dtype=dtype)
    resumed.load_state(tmp_path)
    for seed in (2, 3):
        assert straight.step(a_batch(seed=seed)) == resumed.step(a_batch(seed=seed))
    assert torch.equal(weights(straight), weights(resumed))


def test_steps_too_small_for_bfloat16_add_up(tiny_model: Path):
    policy = TorchPolicy(
        tiny_model,
        loading=ModelLoading(dtype="bfloat16"),
        optimizer=Optimizer(learning_rate=1e-6),
        total_steps=None,
        tokens_per_micro_batch=4096,
    )
    before = weights(policy)
    for _ in range(200):
        policy.step(a_batch())
    # Half a step of bfloat16 is 20 to 60 times as large there as one of these; next to 0 it is not.
    coarse = (before.abs() > 0.01) & (before.abs() < 0.03)
    moved = (before != weights(policy))[coarse]
    assert moved.float().mean() > 0.3


def test_a_gradient_that_is_no_number_changes_nothing(tiny_model: Path):
    policy = a_policy(tiny_model)
    before = weights(policy)
    batch = a_batch()
    bad = Batch(**{**batch.__dict__, "token_weights": [w * math.nan for w in batch.token_weights]})
    update = policy.step(bad)
    assert math.isnan(update.grad_norm)
    assert torch.equal(before, weights(policy))
    assert policy.step(batch) == a_policy(tiny_model).step(batch)


def test_a_copy_of_the_state_is_that_of_its_moment(tiny_model: Path, tmp_path: Path):
    policy, resumed = a_policy(tiny_model), a_policy(tiny_model)
    policy.step(a_batch(seed=1))
    copy = policy.snapshot()
    after = policy.step(a_batch(seed=2))
    files = copy.write(tmp_path)
    assert sorted(files) == sorted(tmp_path.iterdir())
    resumed.load_state(tmp_path)
    assert resumed.step(a_batch(seed=2)) == after


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_stop_between_micro_batches_leaves_the_policy_at_the_step_before(
    tiny_model: Path, dtype: str
):
    looks = iter(range(100))

    def stop_at_the_third_look() -> None:
        if next(looks) == 2:
            raise Stopped

    policy = a_policy(tiny_model, budget=32, dtype=dtype, check_stop=stop_at_the_third_look)
    before = weights(policy)
    with pytest.raises(Stopped):
        policy.step(a_batch())
    assert torch.equal(before, weights(policy))
    assert policy.step(a_batch()) == a_policy(tiny_model, budget=32, dtype=dtype).step(a_batch())


def test_gradients_of_many_micro_batches_are_summed_in_float32(tiny_model: Path):
    """Each is below bfloat16's rounding of the sum: summed there, half of them would be lost."""
    whole = many_small_gradients(a_policy(tiny_model, dtype="float32"))
    cut = many_small_gradients(a_policy(tiny_model, budget=LENGTH, dtype="bfloat16"))
    assert cut == pytest.approx(whole, rel=0.03)


def test_logits_in_chunks_give_the_same_step(tiny_model: Path, monkeypatch: pytest.MonkeyPatch):
    whole = a_policy(tiny_model).step(a_batch())
    monkeypatch.setattr(head, "LOGITS_AT_ONCE", 98 * 7)
    chunked = a_policy(tiny_model).step(a_batch())
    assert whole.loss == pytest.approx(chunked.loss, rel=1e-4, abs=1e-6)
    assert whole.grad_norm == pytest.approx(chunked.grad_norm, rel=1e-4)
    assert whole.entropy == pytest.approx(chunked.entropy, rel=1e-4)


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_layers_that_are_computed_again_give_the_same_bits(tiny_model: Path, layout: str):
    kept = a_policy(tiny_model, layout=layout)
    again = a_policy(tiny_model, layout=layout, activation_checkpointing=True)
    runs = []
    attention = again.model.base_model.layers[0].self_attn
    attention.register_forward_hook(lambda *_: runs.append(attention.training))
    assert kept.step(a_batch()) == again.step(a_batch())
    assert runs == [False, False], "once forward, once again in the backward pass; no dropout"
    assert torch.equal(weights(kept), weights(again))
    assert not any(module.training for module in again.model.modules()), "the sampler's own too"


def test_a_batch_without_signal_is_a_step_with_no_gradient(tiny_model: Path):
    policy = a_policy(tiny_model)
    update = policy.step(Batch([], [], [], 1.0, []))
    assert (update.loss, update.grad_norm, update.tokens) == (0.0, 0.0, 0)


def test_mismatch_is_zero_for_the_samplers_own_numbers_and_positive_else(tiny_model: Path):
    batch = a_batch(n=1)
    model = a_policy(tiny_model).model
    log_p = torch.log_softmax(model(torch.tensor(batch.sequences)).logits[0, 3:-1] / 0.8, -1)
    exact = log_p[range(len(log_p)), batch.sequences[0][4:]].detach()
    same = Batch(**{**batch.__dict__, "sampler_logprobs": [exact]})
    other = Batch(**{**batch.__dict__, "sampler_logprobs": [exact - 0.5]})
    assert a_policy(tiny_model).step(same).mismatch_kl == pytest.approx(0, abs=1e-9)
    assert a_policy(tiny_model).step(other).mismatch_kl == pytest.approx(
        torch.tensor(0.5).exp().item() - 1.5, rel=1e-3
    )


def test_rows_are_grouped_within_the_budget_longest_first():
    groups = group_rows([10, 30, 20, 5], budget=40)
    assert groups == [[1], [2, 0], [3]]
    assert group_rows([100], budget=40) == [[0]]


@pytest.mark.parametrize(
    ("step", "rate", "why"),
    [
        (0, 0.5, "first of two warm-up steps"),
        (1, 1.0, "warm"),
        (2, 1.0, "the cosine starts at the peak"),
        (6, 0.55, "half way down to a tenth"),
        (10, 0.1, "the end"),
        (99, 0.1, "and stays there"),
    ],
)
def test_the_schedule_warms_up_and_decays(step: int, rate: float, why: str):
    settings = Optimizer(learning_rate=1.0, warmup_steps=2, final_fraction=0.1)
    assert learning_rate(settings, step, total=10) == pytest.approx(rate), why
