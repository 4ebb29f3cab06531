"""Documents are packed whole, each once, and lazily."""

from itertools import islice

from acereason_trainer.sft.packing import filled, pack
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.integers(1, 64), max_size=200))
def test_every_document_lands_whole_in_exactly_one_row(lengths: list[int]):
    rows = list(pack(enumerate(lengths), row_tokens=64))
    assert sorted(d for row in rows for d in row) == list(range(len(lengths)))
    assert all(sum(lengths[d] for d in row) <= 64 for row in rows)


def test_rows_of_mixed_documents_are_nearly_full():
    lengths = [(i * 37) % 100 + 20 for i in range(2000)]
    rows = list(pack(enumerate(lengths), row_tokens=512))
    assert filled(rows, lengths, 512) > 0.95


def test_reads_no_further_than_the_rows_that_are_asked_for():
    read = []

    def documents():
        for i in range(10_000):
            read.append(i)
            yield i, 32

    assert len(list(islice(pack(documents(), row_tokens=64), 5))) == 5
    assert len(read) < 100
