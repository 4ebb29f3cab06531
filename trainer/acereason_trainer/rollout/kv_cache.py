"""Keys and values of a batch that is being decoded, in tensors that grow as they fill.

The model asks only for `update`. Room for a long response is taken when it is reached, not when the
batch starts, and rows that are finished are dropped together once enough of them are.
"""

from torch import Tensor

FIRST_COLUMNS = 256
"""Room for tokens after the prompt, at first."""
GROWTH = 1.5
"""A full cache grows by half: each column is copied three times at most."""


class KVCache:
    """Per layer keys and values [B, heads, width, head size], filled from the left.

    Never wider than `limit` columns.
    """

    is_compileable = False

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._layers: list[tuple[Tensor, Tensor]] = []
        self.filled = 0
        """Columns that hold tokens, before the forward pass under way."""

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object) -> tuple[Tensor, Tensor]:
        """Append [B, heads, t, head size]; returns all columns so far."""
        end = self.filled + keys.shape[2]
        if layer == len(self._layers):
            width = min(self._limit, end + FIRST_COLUMNS)
            self._layers.append((_empty(keys, width), _empty(values, width)))
        elif end > self._layers[layer][0].shape[2]:
            width = min(self._limit, int(end * GROWTH))
            old_keys, old_values = self._layers[layer]
            self._layers[layer] = self._wider(old_keys, width), self._wider(old_values, width)
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
        for layer, (keys, values) in enumerate(self._layers):
            self._layers[layer] = self._taken(keys, rows), self._taken(values, rows)

    def _taken(self, kept: Tensor, rows: Tensor) -> Tensor:
        out = kept.new_empty((len(rows), *kept.shape[1:]))
        out[:, :, : self.filled] = kept[:, :, : self.filled].index_select(0, rows)
        return out

    def _wider(self, kept: Tensor, width: int) -> Tensor:
        out = _empty(kept, width)
        out[:, :, : self.filled] = kept[:, :, : self.filled]
        return out


def _empty(like: Tensor, width: int) -> Tensor:
    """[B, heads, width, head size] without content."""
    return like.new_empty((*like.shape[:2], width, like.shape[3]))
