"""Advantage and token weight as the paper prints them."""

import pytest
import torch
from acereason_trainer.rl.advantages import group_advantages, token_weights
from hypothesis import given
from hypothesis import strategies as st

ALL = torch.ones(1, 4, dtype=torch.bool)


def test_sample_deviation_is_the_papers_formula_with_n_minus_1():
    got = group_advantages(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), ALL, "sample")
    assert got[0].tolist() == pytest.approx([1.5, -0.5, -0.5, -0.5], abs=1e-4)


def test_population_deviation_divides_by_n():
    got = group_advantages(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), ALL, "population")
    assert got[0].tolist() == pytest.approx([3**0.5, *([-(3**-0.5)] * 3)], abs=1e-4)


@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_a_group_without_spread_teaches_nothing(reward: float):
    assert not group_advantages(torch.full((1, 4), reward), ALL, "sample").any()


def test_a_response_without_a_verdict_is_neither_taught_nor_counted():
    counted = torch.tensor([[True, True, True, False]])
    with_it = group_advantages(torch.tensor([[1.0, 0.0, 0.0, 1.0]]), counted, "sample")
    alone = group_advantages(torch.tensor([[1.0, 0.0, 0.0]]), counted[:, :3], "sample")
    assert with_it[0, 3] == 0
    assert torch.equal(with_it[:, :3], alone)


def test_a_group_with_one_verdict_teaches_nothing():
    counted = torch.tensor([[True, False, False, False]])
    assert not group_advantages(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), counted, "sample").any()


@given(
    rewards=st.lists(
        st.lists(st.sampled_from([0.0, 1.0]), min_size=3, max_size=3), min_size=1, max_size=5
    )
)
def test_advantages_of_a_group_sum_to_zero(rewards: list[list[float]]):
    got = group_advantages(torch.tensor(rewards), torch.ones(len(rewards), 3).bool(), "sample")
    assert got.sum(1).abs().max() < 1e-5


def test_group_normalizer_gives_every_prompt_the_same_say_whatever_its_length():
    advantages = torch.tensor([[1.0, -1.0], [1.0, -1.0]])
    lengths = torch.tensor([[10, 10], [1000, 1000]])
    weights = token_weights(advantages, lengths, torch.ones(2, 2).bool(), "group")
    push = (weights.abs() * lengths).sum(1)
    assert push.tolist() == pytest.approx([0.5, 0.5])


def test_batch_normalizer_gives_every_token_the_same_say():
    advantages = torch.tensor([[1.0, -1.0], [1.0, -1.0]])
    lengths = torch.tensor([[10, 10], [1000, 1000]])
    weights = token_weights(advantages, lengths, torch.ones(2, 2).bool(), "batch")
    assert weights.abs().unique().tolist() == pytest.approx([1 / 2020])


def test_tokens_left_out_of_the_denominator_make_the_others_weigh_more():
    advantages, lengths = torch.tensor([[1.0, -1.0]]), torch.tensor([[10, 30]])
    kept = token_weights(advantages, lengths, torch.tensor([[True, False]]), "group")
    assert kept[0, 0] == pytest.approx(1 / 10)
