"""Room on a GPU for whoever draws responses: what only a step needs waits in the host's memory.

What a CPU computes with is in the host's memory anyway, and stays where it is.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from acereason_trainer.policy.state_files import FIRST, SECOND


def takes_room(tensor: Tensor) -> bool:
    """Whether it is on a GPU. Tests say so of what is on a CPU."""
    return tensor.is_cuda


class Room:
    """What was moved to the host, and how it comes back bit for bit.

    A tensor's memory is emptied under it, not put in its place: so the views that an engine keeps
    of it lose theirs too, and have it again afterwards. Until then nobody may read them.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self.bytes = 0
        """What the last `make` moved from a GPU."""

    def make(self, tensors: Iterable[Tensor], zeros: Iterable[Tensor] = ()) -> None:
        """Copy tensors to the host and free their memory; `zeros` hold nothing else and need no
        copy. Each must be all of its memory."""
        if self._waiting:
            return
        self.bytes = 0
        for tensor in filter(takes_room, tensors):
            self._free(tensor, tensor.detach().to("cpu", copy=True))
            self.bytes += tensor.nbytes
        for tensor in filter(takes_room, zeros):
            self._free(tensor, torch.zeros((), dtype=tensor.dtype).expand(tensor.shape))
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # what was freed goes to the sampler, which is another process

    def _free(self, tensor: Tensor, kept: Tensor) -> None:
        memory = tensor.untyped_storage()
        if memory.nbytes() != tensor.nbytes:
            raise ValueError(f"{tensor.nbytes} bytes are a part of {memory.nbytes()}")
        self._waiting.append((tensor, kept))
        memory.resize_(0)

    @torch.no_grad()
    def take(self) -> None:
        """Move them back, where they were moved."""
        while self._waiting:
            tensor, kept = self._waiting.pop()
            tensor.untyped_storage().resize_(kept.nbytes)
            tensor.copy_(kept)


def moments_of(optimizer: torch.optim.Optimizer) -> Iterator[Tensor]:
    """AdamW's moments; its count of steps is on the host anyway."""
    for state in optimizer.state.values():
        yield from (state[name] for name in (FIRST, SECOND) if name in state)
