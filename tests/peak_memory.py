"""How much memory a piece of work takes at its most, in tensors.

The kernel's count is of the whole process: of what other threads hold, and of the pages of its
libraries, which come and go with the memory that the machine has left.
"""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


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
