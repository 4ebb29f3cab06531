"""Weights are known by their bits."""

from collections.abc import Iterable

import torch
from acereason_trainer.policy.identity import Identity
from torch import Tensor


def identity_of(weights: Iterable[tuple[str, Tensor]]) -> str:
    identity = Identity()
    for _ in identity.of_passing(weights):
        pass
    return identity.name


def test_weights_that_differ_in_one_bit_have_another_identity() -> None:
    weights = {"a": torch.randn(7, 3), "b": torch.randn(5).bfloat16()}
    known = identity_of(weights.items())
    assert identity_of({n: w.clone() for n, w in weights.items()}.items()) == known
    for name, weight in weights.items():
        other = weight.clone()
        other.view(-1)[-1:] = torch.nextafter(other.view(-1)[-1:], torch.tensor(9.0).to(other))
        assert identity_of({**weights, name: other}.items()) != known
    assert identity_of({"a": weights["a"].T, "b": weights["b"]}.items()) != known
