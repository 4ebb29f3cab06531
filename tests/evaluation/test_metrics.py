"""avg@k, its standard error, and pass@k against what they mean."""

import math
from itertools import combinations

import pytest
from acereason_trainer.evaluation.metrics import (
    Tally,
    accuracy,
    mean_pass_at_k,
    pass_at_k,
    standard_error,
)
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(
    st.just(n), st.integers(0, n), st.integers(1, n))))  # fmt: skip
def test_pass_at_k_is_the_share_of_choices_with_a_right_answer(case: tuple[int, int, int]) -> None:
    n, correct, k = case
    answers = [i < correct for i in range(n)]
    choices = [any(chosen) for chosen in combinations(answers, k)]
    assert pass_at_k(Tally(correct, n), k) == pytest.approx(sum(choices) / len(choices))


def test_pass_at_1_is_accuracy() -> None:
    tallies = [Tally(1, 4), Tally(3, 4), Tally(2, 3)]
    assert mean_pass_at_k(tallies, 1) == pytest.approx(accuracy(tallies))


def test_pass_at_k_of_many_samples_stays_exact() -> None:
    assert pass_at_k(Tally(1, 1024), 512) == 0.5


def test_more_answers_than_there_are_cannot_be_chosen() -> None:
    with pytest.raises(ValueError, match="pass@5 needs 5 checked answers; there are 4"):
        pass_at_k(Tally(1, 4), 5)


def test_the_standard_error_is_that_of_the_mean_over_problems() -> None:
    tallies = [Tally(4, 4)] * 8 + [Tally(0, 4)] * 8
    assert accuracy(tallies) == 0.5
    assert standard_error(tallies) == pytest.approx(math.sqrt(0.25 * 16 / 15 / 16))


def test_a_problem_counts_once_however_many_answers_were_checked() -> None:
    assert accuracy([Tally(2, 2), Tally(0, 4)]) == 0.5


def test_one_problem_has_no_spread() -> None:
    assert standard_error([Tally(1, 2)]) is None
