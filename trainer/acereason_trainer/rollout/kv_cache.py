"""Keys and values of a batch that is being decoded, in tensors of fixed width.

The model asks only for `update`; nothing is reallocated while decoding, and rows that are finished
are dropped together once enough of them are.
"""

import torch
from torch import Tensor


class KVCache:
    """Per layer keys and values [B, heads, width, head size], filled from the left."""

    is_compileable = False

    def __init__(self, width: int) -> None:
        self._width = width
        self._layers: list[tuple[Tensor, Tensor]] = []
        self.filled = 0
        """Columns that hold tokens, before the forward pass under way."""

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object) -> tuple[Tensor, Tensor]:
        """Append [B, heads, t, head size]; returns all columns so far."""
        if layer == len(self._layers):
            shape = (*keys.shape[:2], self._width, keys.shape[3])
            self._layers.append((keys.new_empty(shape), values.new_empty(shape)))
        end = self.filled + keys.shape[2]
        kept_keys, kept_values = self._layers[layer]
        kept_keys[:, :, self.filled : end] = keys
        kept_values[:, :, self.filled : end] = values
        return kept_keys[:, :, :end], kept_values[:, :, :end]

    def advance(self, columns: int) -> None:
        """Call after each forward pass with the number of columns it added."""
        self.filled += columns

    def get_seq_length(self, layer: int = 0) -> int:
        """Columns that hold tokens, as transformers asks for it."""
        return self.filled

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order; a row may be taken several times."""
        self._layers = [(self._take(k, rows), self._take(v, rows)) for k, v in self._layers]

    def _take(self, kept: Tensor, rows: Tensor) -> Tensor:
        out = kept.new_empty((len(rows), *kept.shape[1:]))
        out[:, :, : self.filled] = torch.index_select(kept[:, :, : self.filled], 0, rows)
        return out
