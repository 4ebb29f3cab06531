"""Weights on their way to another process: in buckets of shared memory, one after the other.

A bucket is filled to its last byte, so a weight may travel in several, and none is too large. The
memory has no name in any file system (a pod's /dev/shm has 64 MiB): whoever runs as the same user
opens it through the process that made it.
"""

import mmap
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Self

import torch
from torch import Tensor

BUCKET = 10**9
"""Bytes of a bucket. Memory is used only as far as it was ever filled."""


@dataclass(frozen=True)
class Piece:
    """Some bytes of one weight within a bucket."""

    name: str
    """Of the weight, as in the model's checkpoint."""
    dtype: str
    """Of the weight: an attribute of torch."""
    shape: tuple[int, ...]
    """Of the whole weight."""
    start: int
    """First byte within the weight."""
    offset: int
    """First byte within the bucket."""
    size: int
    """Number of bytes."""


class SharedMemory:
    """Bytes that two processes see."""

    def __init__(self, descriptor: int, size: int) -> None:
        self.path = f"/proc/{os.getpid()}/fd/{descriptor}"
        """Where other processes of this user open it, while this one lives."""
        self.size = size
        self._descriptor = descriptor
        self._map = mmap.mmap(descriptor, size)
        self.bytes: Tensor = torch.frombuffer(self._map, dtype=torch.uint8)
        """[size] uint8."""

    @classmethod
    def made(cls, size: int) -> Self:
        """New memory, of this process."""
        descriptor = os.memfd_create("weights")
        os.truncate(descriptor, size)
        return cls(descriptor, size)

    @classmethod
    def of_another(cls, path: str, size: int) -> Self:
        """The memory that another process has made."""
        return cls(os.open(path, os.O_RDWR), size)

    def close(self) -> None:
        """Let go of it; the map goes with the last tensor that looks at it."""
        os.close(self._descriptor)


def in_buckets(
    weights: Iterator[tuple[str, Tensor]], memory: SharedMemory
) -> Iterator[list[Piece]]:
    """Fill the memory with weights again and again: what it holds until the next is asked for."""
    pieces: list[Piece] = []
    used = 0
    for name, weight in weights:
        told = (name, str(weight.dtype).removeprefix("torch."), tuple(weight.shape))
        raw = weight.detach().contiguous().reshape(-1).view(torch.uint8)
        start = 0
        while start < len(raw):
            size = min(len(raw) - start, memory.size - used)
            memory.bytes[used : used + size].copy_(raw[start : start + size])
            pieces.append(Piece(*told, start, used, size))
            start, used = start + size, used + size
            if used == memory.size:
                yield pieces
                pieces, used = [], 0
    if pieces:
        yield pieces


class Arrivals:
    """Weights that come in buckets, copied onto a device: a bucket is overwritten by the next."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._begun: dict[str, Tensor] = {}

    @property
    def begun(self) -> list[str]:
        """Names of weights that have come in part."""
        return list(self._begun)

    def of(self, pieces: Sequence[Piece], memory: SharedMemory) -> Iterator[tuple[str, Tensor]]:
        """The weights that a bucket has made whole."""
        for piece in pieces:
            dtype = getattr(torch, piece.dtype)
            whole = prod(piece.shape) * dtype.itemsize
            raw = self._begun.get(piece.name)
            if raw is None:
                raw = torch.empty(whole, dtype=torch.uint8, device=self._device)
                self._begun[piece.name] = raw
            end = piece.start + piece.size
            raw[piece.start : end].copy_(memory.bytes[piece.offset : piece.offset + piece.size])
            if end == whole:
                yield piece.name, self._begun.pop(piece.name).view(dtype).view(piece.shape)
