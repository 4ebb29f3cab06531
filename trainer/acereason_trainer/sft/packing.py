"""Documents into rows of a fixed number of tokens, without cutting any."""

from collections.abc import Iterable, Iterator, Sequence

OPEN_ROWS = 16
"""Rows that are being filled at once: enough to waste a few percent, few enough that a row's
documents come from one stretch of the shuffled data."""


def pack(lengths: Iterable[tuple[int, int]], row_tokens: int) -> Iterator[list[int]]:
    """Rows of document numbers, in the order in which they fill up.

    `lengths` yields (document, tokens), each at most `row_tokens`. A document goes into the fullest
    open row that has room for it (best fit); when none has, the fullest row is closed. Every
    document lands in exactly one row, whole. Lazy: reads only as far as rows are asked for.
    """
    rows: list[tuple[int, list[int]]] = []
    for document, tokens in lengths:
        fitting = [i for i, (used, _) in enumerate(rows) if used + tokens <= row_tokens]
        if fitting:
            best = max(fitting, key=lambda i: rows[i][0])
            rows[best] = (rows[best][0] + tokens, [*rows[best][1], document])
            continue
        if len(rows) == OPEN_ROWS:
            fullest = max(range(len(rows)), key=lambda i: rows[i][0])
            yield rows.pop(fullest)[1]
        rows.append((tokens, [document]))
    yield from (row for _, row in sorted(rows, key=lambda r: -r[0]))


def filled(rows: Sequence[Sequence[int]], lengths: Sequence[int], row_tokens: int) -> float:
    """Share of the rows' tokens that hold documents, 0 to 1."""
    used = sum(lengths[d] for row in rows for d in row)
    return used / max(1, len(rows) * row_tokens)
