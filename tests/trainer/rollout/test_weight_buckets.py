"""Weights arrive in another's memory as they were, however small the buckets are."""

import torch
from acereason_trainer.rollout.weight_buckets import Arrivals, SharedMemory, in_buckets

WEIGHTS = {
    "embedding": torch.randn(40, 8),
    "rounded": torch.randn(7, 3).bfloat16(),
    "none": torch.empty(0, 4),
    "one": torch.tensor(2.5),
    "turned": torch.randn(5, 6).T,
}


def test_a_weight_may_travel_in_several_buckets() -> None:
    ours = SharedMemory.made(size=100)
    theirs = SharedMemory.of_another(ours.path, ours.size)
    arrivals = Arrivals(torch.device("cpu"))
    found, buckets = {}, 0
    for pieces in in_buckets(iter(WEIGHTS.items()), ours):
        assert sum(piece.size for piece in pieces) <= 100
        found |= dict(arrivals.of(pieces, theirs))
        buckets += 1
    sent = {name: weight for name, weight in WEIGHTS.items() if weight.numel()}
    assert buckets == -(-sum(weight.nbytes for weight in sent.values()) // 100)
    assert found.keys() == sent.keys()
    for name, weight in sent.items():
        assert found[name].dtype == weight.dtype
        assert torch.equal(found[name], weight)


def test_what_has_arrived_stays_when_the_bucket_is_filled_again() -> None:
    memory = SharedMemory.made(size=64)
    (pieces,) = in_buckets(iter([("a", torch.ones(16))]), memory)
    ((_, arrived),) = Arrivals(torch.device("cpu")).of(pieces, memory)
    memory.bytes.zero_()
    assert torch.equal(arrived, torch.ones(16))
