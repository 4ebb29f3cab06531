"""Overlap with held-out problems."""

import random
import time

import pytest
from acereason_trainer.config.curate import Decontamination
from acereason_trainer.curation.contamination import HeldOut
from acereason_trainer.dataset import Row
from hypothesis import given
from hypothesis import strategies as st

TEST = "A train leaves the station at noon and travels 60 miles per hour toward the sea."


def row(problem: str) -> Row:
    return Row("r", {"problem": problem})


def index(*texts: str, ngram: int = 9, min_matches: int = 1) -> HeldOut:
    settings = Decontamination(ngram=ngram, min_matches=min_matches)
    return HeldOut(((f"test {i}", t) for i, t in enumerate(texts)), settings)


CASES = [
    (TEST, True, "the problem itself"),
    (TEST.upper().replace(" ", "  ") + "!!", True, "other case, spaces, punctuation"),
    ("Once, station at noon and travels 60 miles per day.", False, "eight words in a row"),
    ("Once, station at noon and travels 60 miles per hour.", True, "nine words in a row"),
    ("A bus leaves the depot at noon and goes 60 miles toward the sea.", False, "a new problem"),
    ("", False, "nothing"),
]


@pytest.mark.parametrize(("problem", "drops", "why"), CASES, ids=[c[2] for c in CASES])
def test_nine_words_in_a_row_are_too_many(problem: str, drops: bool, why: str) -> None:
    assert (index(TEST).overlap(row(problem)) is not None) is drops


def test_the_overlap_is_shown() -> None:
    found = index("Something else.", TEST).overlap(row("Once upon a time: " + TEST))
    assert found is not None
    assert found.held_out == "test 1"
    assert found.words in " ".join(TEST.lower().replace(".", "").split())


@pytest.mark.parametrize(("problem", "drops"), [("What is 3+4 ?", True), ("What is 3 - 4?", False)])
def test_a_problem_shorter_than_a_run_is_compared_as_a_whole(problem: str, drops: bool) -> None:
    assert (index("What is 3 + 4?").overlap(row(problem)) is not None) is drops


def test_more_matches_can_be_asked_for() -> None:
    eleven_words = "Today " + " ".join(TEST.split()[:11]) + " and more of it"
    assert index(TEST, min_matches=3).overlap(row(eleven_words)) is not None
    assert index(TEST, min_matches=4).overlap(row(eleven_words)) is None


WORDS = st.lists(st.sampled_from("abcd"), max_size=12)


@given(WORDS, WORDS, st.integers(1, 4))
def test_it_finds_what_a_slow_search_finds(held: list[str], own: list[str], n: int) -> None:
    runs = {tuple(held[i : i + n]) for i in range(len(held) - n + 1)}
    slow = any(tuple(own[i : i + n]) in runs for i in range(len(own) - n + 1))
    found = index(" ".join(held), ngram=n).overlap(row(" ".join(own)))
    assert (found is not None) is (slow or held == own)


def test_a_large_set_is_searched_fast_enough_to_be_no_step_of_its_own() -> None:
    """Measured: 13,000 rows of 140 words per second on an idle core. A search over all held-out
    problems would manage a few."""
    draw = random.Random(0)
    words = [f"w{i}" for i in range(5000)]
    texts = [" ".join(draw.choices(words, k=140)) for _ in range(2000)]
    held_out = index(*(" ".join(draw.choices(words, k=140)) for _ in range(500)))
    began = time.process_time()  # not of what else runs
    for text in texts:
        held_out.overlap(row(text))
    assert len(texts) / (time.process_time() - began) > 500
