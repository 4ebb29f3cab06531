# ruff: noqa: RUF001
"""What counts as the same problem."""

import pytest
from acereason_trainer.curation.duplicates import Duplicates, Mode, normalized
from acereason_trainer.dataset import Row
from hypothesis import given
from hypothesis import strategies as st

SAME = [
    ("What is 3 + 4?", "what is 3+4", "case, spaces, question mark"),
    ("Find $x$ with $x^2=4$.", "Find x with x^2 = 4", "dollar signs"),
    ("A two-digit number", "A two digit number", "a hyphen inside a word"),
    ("How many\n are\tthere", "How many are there!", "lines, tabs, an exclamation mark"),
    ("Ｆｉｎｄ ｘ", "find x", "full-width letters"),
]
DIFFERENT = [
    ("What is 3 + 4?", "What is 3 - 4?", "another operator"),
    ("Find x - y.", "Find x + y.", "a minus between variables"),
    ("Find 5! here", "Find 5 here", "a factorial"),
    ("Find n! here", "Find n here", "a factorial of a variable"),
    ("x < 3", "x > 3", "another relation"),
    ("x ≤ 3", "x ≥ 3", "relations beyond ASCII"),
    ("What is 12 + 3?", "What is 1 + 23?", "digits in other places"),
]


@pytest.mark.parametrize(("a", "b", "why"), SAME, ids=[c[2] for c in SAME])
def test_the_same_in_other_spelling(a: str, b: str, why: str) -> None:
    assert normalized(a) == normalized(b)


@pytest.mark.parametrize(("a", "b", "why"), DIFFERENT, ids=[c[2] for c in DIFFERENT])
def test_another_problem(a: str, b: str, why: str) -> None:
    assert normalized(a) != normalized(b)


@given(st.text())
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    once = normalized(text)
    assert normalized(once) == once


@pytest.mark.parametrize(("mode", "kept"), [("exact", 2), ("normalized", 1)])
def test_the_first_row_of_a_kind_stays(mode: Mode, kept: int) -> None:
    seen = Duplicates(mode, per_response=False)
    texts = ["Why not?", "Why not?", "why not"]
    rows = [Row(str(i), {"problem": t}, f"line {i}") for i, t in enumerate(texts)]
    repeats = [seen.repeats(row) for row in rows]
    assert repeats.count(None) == kept
    assert repeats[:2] == [None, "line 0"]


def test_different_worked_answers_to_one_problem_all_stay() -> None:
    seen = Duplicates("normalized", per_response=True)
    rows = [
        Row("r", {"problem": p, "response": r}, f"line {i}")
        for i, (p, r) in enumerate([("a b", "x"), ("a b", "y"), ("a  b", "x"), ("a", "b x")])
    ]
    assert [seen.repeats(row) for row in rows] == [None, None, "line 0", None]
