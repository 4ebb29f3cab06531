"""Room on a GPU for whoever draws responses: what only a step needs waits in the host's memory."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from acereason_trainer.policy.state_files import FIRST, SECOND


def move(tensors: Iterable[Tensor], device: torch.device) -> None:
    """Move tensors in place, so that whoever holds them has them still."""
    for tensor in tensors:
        tensor.data = tensor.data.to(device)
    if device.type == "cpu" and torch.cuda.is_available():
        torch.cuda.empty_cache()  # what was freed goes to the sampler, which is another process


def moments_of(optimizer: torch.optim.Optimizer) -> Iterator[Tensor]:
    """AdamW's moments; its count of steps is on the host anyway."""
    for state in optimizer.state.values():
        yield from (state[name] for name in (FIRST, SECOND) if name in state)
