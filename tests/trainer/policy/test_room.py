"""What waits in the host's memory is away for everybody who has a view of it, and comes back."""

from pathlib import Path

import pytest
import torch
from acereason_trainer.config.common import ModelLoading
from acereason_trainer.config.sft import Optimizer
from acereason_trainer.policy import room as room_module
from acereason_trainer.policy.room import Room
from acereason_trainer.policy.torch_policy import TorchPolicy

from tests.devices import DEVICES
from tests.trainer.policy.batches import OPTIMIZER, STEPS, batches

EACH_DEVICE = pytest.mark.parametrize("device", DEVICES)


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on a CPU is moved, too."""
    monkeypatch.setattr(room_module, "takes_room", lambda _: True)


def test_what_is_on_a_cpu_stays_where_it_is() -> None:
    flat, room = torch.randn(1000), Room()
    room.make([flat], zeros=[torch.zeros(10)])
    assert flat.untyped_storage().nbytes() == flat.nbytes
    assert room.bytes == 0


@EACH_DEVICE
@pytest.mark.usefixtures("as_on_a_gpu")
def test_views_are_emptied_with_what_they_show_and_come_back_to_the_bit(device: str) -> None:
    flat, room = torch.randn(1000, device=device), Room()
    view, before = flat.narrow(0, 100, 50), flat.clone()
    room.make([flat])
    assert view.untyped_storage().nbytes() == 0, "nothing is left for the view to hold"
    room.take()
    assert torch.equal(flat, before)
    assert torch.equal(view, before[100:150])
    view.zero_()
    assert not flat[100:150].any(), "it is the same memory still"


@EACH_DEVICE
@pytest.mark.usefixtures("as_on_a_gpu")
def test_zeros_need_no_copy_and_are_zeros_again(device: str) -> None:
    flat, room = torch.zeros(1000, device=device), Room()
    view = flat.narrow(0, 100, 50)
    room.make([], zeros=[flat])
    assert view.untyped_storage().nbytes() == 0
    room.take()
    assert not flat.any()
    view.fill_(1.0)
    assert flat.sum() == 50, "it is the same memory still"


@EACH_DEVICE
@pytest.mark.usefixtures("as_on_a_gpu")
def test_room_that_is_made_or_taken_twice_is_made_or_taken_once(device: str) -> None:
    flat, room = torch.randn(10, device=device), Room()
    before = flat.clone()
    for _ in range(2):
        room.make([flat])
    for _ in range(2):
        room.take()
    assert torch.equal(flat, before)


@pytest.mark.usefixtures("as_on_a_gpu")
def test_a_part_of_a_tensor_is_not_moved() -> None:
    with pytest.raises(ValueError, match="40 bytes are a part of 400"):
        Room().make([torch.zeros(100)[:10]])


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_room_between_steps_changes_no_bit_of_the_state(tiny_model: Path, dtype: str) -> None:
    def trained(*, with_room: bool) -> dict[str, torch.Tensor]:
        policy = TorchPolicy(
            tiny_model,
            loading=ModelLoading(dtype=dtype),
            optimizer=Optimizer(**OPTIMIZER),
            total_steps=STEPS,
            tokens_per_micro_batch=64,
        )
        for batch in batches()[:3]:
            if with_room:
                policy.make_room()
                policy.take_room()
            policy.step(batch)
        if with_room:
            policy.make_room()
        (portion,) = policy.snapshot().portions
        return portion

    alone, beside = trained(with_room=False), trained(with_room=True)
    assert all(torch.equal(alone[name], beside[name]) for name in alone)
