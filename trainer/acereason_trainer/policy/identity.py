"""A name for a model's weights, by which other ones are known: to the last bit, at one reading."""

import hashlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

_PIECE = 1 << 24
"""Numbers that are summed at once: a sum makes a copy of them with 8 bytes each."""
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""By the bytes of a number."""


class Identity:
    """Of weights that pass by on their way to somewhere else.

    Of each tensor the sum of its numbers, their bits read as integers: exact in any order, so the
    same on every device. Steps of training, even one that differs in roundings alone, do not leave
    all of these sums as they were; a model whose rows are swapped does, and is not what this is
    for.
    """

    def __init__(self) -> None:
        self._told = hashlib.blake2b(digest_size=8)

    def of_passing(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """The same tensors under the same names, summed as they are asked for."""
        for name, tensor in weights:
            bits = tensor.detach().contiguous().view(_INTEGERS[tensor.element_size()])
            pieces = [piece.sum(dtype=torch.int64) for piece in bits.flatten().split(_PIECE)]
            total = int(torch.stack(pieces).sum())
            self._told.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} {total}\n".encode())
            yield name, tensor

    @property
    def name(self) -> str:
        """16 hexadecimal digits for all that have passed."""
        return self._told.hexdigest()
