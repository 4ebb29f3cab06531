"""How much memory a piece of work takes at its most: as the kernel counts it, and in tensors."""

import ctypes
import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

M_MMAP_THRESHOLD = -3
LARGE = 2**16


def peak_of(work: Callable[[], object]) -> int:
    """Bytes that this process held at most while it worked, beyond what it held before.

    From then on, what is large goes back to the kernel as soon as it is free: else the memory of
    earlier work is used again, and not seen.
    """
    gc.collect()
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_THRESHOLD, LARGE)
    libc.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest so far
    before = _bytes("VmHWM")
    work()
    return _bytes("VmHWM") - before


def _bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def peak_of_tensors(work: Callable[[], object]) -> int:
    """Bytes of tensors that were there at once at most, of those that the work made.

    What a caching allocator must hold. Memory inside of single operations is not seen.
    """
    with _MadeTensors() as made:
        work()
    return made.most


class _MadeTensors(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self._bytes: dict[int, int] = {}
        self.most = 0

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = operation(*args, **(kwargs or {}))
        given = {_storage(t)._cdata for t in tree_iter((args, kwargs)) if _is_tensor(t)}
        for tensor in filter(_is_tensor, tree_iter(out)):
            storage = _storage(tensor)
            if storage._cdata not in given | self._bytes.keys():
                self._bytes[storage._cdata] = storage.nbytes()
                weakref.finalize(storage, self._bytes.pop, storage._cdata, None)
        self.most = max(self.most, sum(self._bytes.values()))
        return out


def _is_tensor(value: object) -> bool:
    return isinstance(value, torch.Tensor)


def _storage(tensor: torch.Tensor) -> Any:
    return tensor.untyped_storage()
