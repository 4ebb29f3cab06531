"""Weights are known by their bits."""

from collections.abc import Iterable

import pytest
import torch
from acereason_trainer.policy import identity
from acereason_trainer.policy.identity import Identity, sum_of
from torch import Tensor


def identity_of(weights: Iterable[tuple[str, Tensor]]) -> str:
    passed = Identity()
    for _ in passed.of_passing(weights):
        pass
    return passed.name


def test_weights_that_differ_in_one_bit_have_another_identity() -> None:
    weights = {"a": torch.randn(7, 3), "b": torch.randn(5).bfloat16()}
    known = identity_of(weights.items())
    assert identity_of({n: w.clone() for n, w in weights.items()}.items()) == known
    for name, weight in weights.items():
        other = weight.clone()
        other.view(-1)[-1:] = torch.nextafter(other.view(-1)[-1:], torch.tensor(9.0).to(other))
        assert identity_of({**weights, name: other}.items()) != known
    assert identity_of({"a": weights["a"].T, "b": weights["b"]}.items()) != known


@pytest.mark.parametrize("dtype", ["int8", "bfloat16", "float32", "float64"])
def test_a_sum_is_the_same_on_a_gpu_and_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    """What a GPU is asked for, in several pieces, gives the same on a CPU too. Sums of float64 are
    cut to 64 bits, in the same way."""
    monkeypatch.setattr(identity, "_PIECE", 1000)
    drawn = (100 * torch.randn(5, 700)).to(getattr(torch, dtype))
    for tensor in (drawn, drawn.T, drawn[1:, 3:], drawn[0, 0], drawn[:0]):
        raw = tensor.contiguous().view(identity._INTEGERS[tensor.element_size()]).flatten()
        assert sum_of(tensor) == identity._summed_by_torch(raw)
    ones = torch.full((3, 2), -1, dtype=torch.int32).view(torch.float32)
    assert sum_of(ones) == -6, "known by heart, whoever sums"
