"""A step's rows, shared out to ranks that work in step with one another."""

import pytest
import torch
from acereason_trainer.policy.micro_batches import (
    balanced_groups,
    group_rows,
    micro_batches,
    shared_groups,
)
from acereason_trainer.policy.protocol import Batch
from hypothesis import given
from hypothesis import strategies as st

LENGTHS = st.lists(st.integers(1, 60), max_size=40)


@given(LENGTHS, st.integers(16, 80), st.integers(1, 5))
def test_every_row_is_run_once_and_every_rank_has_as_many_groups(
    lengths: list[int], budget: int, world: int
) -> None:
    shares = shared_groups(lengths, budget, world)
    assert sorted(row for share in shares for group in share for row in group) == [
        *range(len(lengths))
    ]
    assert len({len(share) for share in shares}) == 1
    for group in (group for share in shares for group in share if len(group) > 1):
        assert len(group) * max(lengths[row] for row in group) <= budget


@given(LENGTHS.filter(len), st.integers(16, 80), st.integers(2, 5))
def test_there_are_no_more_rounds_than_the_budget_needs(
    lengths: list[int], budget: int, world: int
) -> None:
    needed = -(-len(group_rows(lengths, budget)) // world)
    assert len(shared_groups(lengths, budget, world)[0]) == needed


@pytest.mark.parametrize(
    ("lengths", "rows", "why"),
    [
        ([10] * 9, [[3, 2], [3, 1]], "the last of three groups is cut in two"),
        ([10] * 4, [[2], [2]], "one round, though the budget has room for three in a group"),
        ([28, 27, 4, 4, 4, 4], [[1, 2], [1, 2]], "long rows meet long ones, short ones short ones"),
        ([10], [[1], [0]], "nothing is left to be cut"),
    ],
)
def test_what_ranks_do_in_one_round_is_alike(
    lengths: list[int], rows: list[list[int]], why: str
) -> None:
    shares = shared_groups(lengths, 30, 2)
    assert [[len(group) for group in share] for share in shares] == rows, why


@pytest.mark.parametrize("lengths", [[], [5], [30, 20, 10, 5]])
def test_one_rank_has_the_groups_that_it_has_alone(lengths: list[int]) -> None:
    assert shared_groups(lengths, 40, 1) == [group_rows(lengths, 40)]


def test_a_rank_without_rows_runs_one_token_that_counts_for_nothing() -> None:
    batch = Batch([[1, 2, 3]], [1], [torch.ones(2)])
    (busy,) = micro_batches(batch, 16, torch.device("cpu"), rank=0, world=2)
    (idle,) = micro_batches(batch, 16, torch.device("cpu"), rank=1, world=2)
    assert busy.counts
    assert not idle.counts
    assert idle.weights.tolist() == [0.0]


@given(LENGTHS, st.integers(16, 80), st.integers(1, 5))
def test_packed_groups_hold_every_sequence_once_and_no_more_than_the_budget(
    lengths: list[int], budget: int, world: int
) -> None:
    shares = balanced_groups(lengths, budget, world)
    assert sorted(i for share in shares for group in share for i in group) == [*range(len(lengths))]
    assert len({len(share) for share in shares}) == 1
    for group in (group for share in shares for group in share if len(group) > 1):
        assert sum(lengths[i] for i in group) <= budget


def test_packing_pads_nothing_and_spreads_the_work() -> None:
    """A step of RL at 32K: 256 responses, most of them short, on 8 ranks."""
    lengths = [200 + 32_000 * i**3 // 256**3 for i in range(256)]
    shares = balanced_groups(lengths, 65_536, 8)
    groups = [group for share in shares for group in share]
    rounds = len(shares[0])
    assert rounds == -(-sum(lengths) // (8 * 65_536))
    tokens = [sum(lengths[i] for i in group) for group in groups]
    assert max(tokens) < 1.1 * sum(lengths) / len(groups)


def test_a_packed_row_says_where_its_sequences_end() -> None:
    batch = Batch([[1, 2, 3], [4, 5], [6, 7]], [1, 1, 1], [torch.ones(2), *[torch.ones(1)] * 2])
    (part,) = micro_batches(batch, 16, torch.device("cpu"))
    assert part.tokens.shape == (1, 7)
    assert part.mask is None
    assert part.documents is not None
    assert part.documents.ends == (0, 3, 5, 7)
    assert part.positions is not None
    assert part.positions.tolist() == [[0, 1, 2, 0, 1, 0, 1]]
    assert part.targets.tolist() == [2, 3, 5, 7]
    assert part.tokens[0, part.columns + 1].tolist() == part.targets.tolist()
