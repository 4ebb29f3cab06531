r"""Answers to math problems: what counts as the same, and that no answer can stop the grader."""

import time
from fractions import Fraction

import pytest
from acereason_trainer.rewards.exact import Undecided, exactly_same
from acereason_trainer.rewards.extract import boxed_answer, toolkit_answer
from acereason_trainer.rewards.latex import Unreadable, parse
from acereason_trainer.rewards.math import is_same_answer
from acereason_trainer.rewards.rational import rational
from acereason_trainer.rewards.symbolic import symbolically_same
from hypothesis import given, settings
from hypothesis import strategies as st

BOXES = [
    (r"</think> \boxed{42}", "42", "a box"),
    (r"</think> so \boxed{7}, then \boxed{42}.", "42", "the last of several"),
    (r"\boxed{1} </think> none", None, "a box inside the reasoning is a draft"),
    (r"\boxed{42}", None, "the reasoning never ended"),
    (r"</think> a </think> \boxed{2}", "2", "after the last tag"),
    (r"</think> The answer is 42.", None, "no box"),
    (r"</think> \boxed{42", None, "never closed"),
    (r"</think> \boxed{7} and \boxed{42", None, "a cut answer does not fall back to a guess"),
    (r"</think> \fbox{42}", "42", "fbox"),
    (r"</think> \boxed{\boxed{42}}", "42", "nested: the inner one"),
    (r"</think> \boxed {\frac{1}{2}}", r"\frac{1}{2}", "braces inside"),
    (r"</think> \boxed{\{1,2\}}", r"\{1,2\}", "escaped braces do not count"),
    (r"</think> \boxed{ }", "", "empty"),
]


@pytest.mark.parametrize(("response", "answer", "why"), BOXES, ids=lambda v: None)
def test_the_answer_is_the_last_closed_box_after_thinking(
    response: str, answer: str | None, why: str
) -> None:
    assert boxed_answer(response) == answer, why


TOOLKIT = [
    (r"\boxed{\frac{1}{\sqrt{2}}} **7**", r"\frac{1}{\sqrt{2}}", "a box before bold text"),
    (r"\boxed{1} \boxed{2", "1", "the last box that is closed"),
    (r"\boxed{{{{1}}}}", None, "deeper braces than the toolkit reads"),
    ("a **7** b **8**", "8", "the last bold text"),
    (r"\[ x \] and \[ y \]", "y", "the last formula"),
    (r"is \(5\) and \(x\)", "5", "a formula after `is`"),
    (r"\] \[ x", None, "a formula that is never closed"),
]


@pytest.mark.parametrize(("response", "answer", "why"), TOOLKIT, ids=lambda v: None)
def test_the_toolkit_takes_what_it_takes(response: str, answer: str | None, why: str) -> None:
    assert toolkit_answer(response) == answer, why


@pytest.mark.parametrize("piece", [r"\[", r"is \(", "**\n", r"\boxed{a", r"\boxed{{a", "is    "])
def test_extraction_takes_time_in_proportion_to_the_response(piece: str) -> None:
    start = time.process_time()
    toolkit_answer(piece * 50_000)
    boxed_answer("</think>" + piece * 50_000)
    assert time.process_time() - start < 5


EXACT = [
    ("42", "42", True, "equal"),
    ("42.", "42", True, "a full stop"),
    ("$42$", "42", True, "dollar signs around"),
    (r"\frac{1}{2}", "0.5", True, "fraction and terminating decimal"),
    (r"\frac12", "1/2", True, "shorthand"),
    (r"\dfrac{2}{4}", r"\frac{1}{2}", True, "unreduced"),
    ("0.333", "1/3", False, "a rounded answer to an exact reference"),
    ("0.333333", r"\frac{1}{3}", False, "however many digits"),
    ("1/3", "0.333", True, "an exact answer to a reference that is rounded"),
    ("3.14159", "3.14", True, "rounds to the reference's written precision"),
    ("3.1", "3.14", False, "fewer digits than asked for"),
    ("0.54", "0.5", False, "one decimal is taken to be exact"),
    ("0.50", "1/2", True, "trailing zero"),
    ("1,000", "1000", True, "thousands separator"),
    ("1{,}234{,}567", "1234567", True, "LaTeX thousands separator"),
    ("1 000 000", "1000000", True, "spaced thousands"),
    ("073", "73", True, "AIME's leading zeros"),
    ("50%", "50", True, "percent sign where the reference has none"),
    ("50", r"50\%", True, "percent sign only in the reference"),
    ("0.5", r"50\%", False, "a half is not 50 %"),
    (r"\$5", "5", True, "currency"),
    ("5 dollars", "5", True, "currency in words"),
    ("10 cm", "10", True, "unit where the reference has none"),
    (r"10\text{ cm}", "10 centimeters", True, "the same unit"),
    ("10 m", "10 cm", False, "another unit"),
    (r"25\text{ cm}^2", "25", True, "a squared unit"),
    (r"90^\circ", "90", True, "degrees"),
    ("x=5", "5", True, "assignment where the reference has none"),
    ("5", "x = 5", True, "assignment only in the reference"),
    ("y=5", "x=5", False, "another variable"),
    (r"x \in [1,2]", "[1,2]", True, "membership where the reference has none"),
    ("41 or 42", "41", False, "two answers for one"),
    ("1, 2, 3, 4", "3", False, "a shotgun list"),
    (r"\{41, 42\}", "41", False, "a set for a number"),
    ("2 and 1", "1, 2", True, "several answers in any order"),
    (r"\{2, 1\}", r"\{1, 2\}", True, "a set in any order"),
    ("(2,1)", "(1,2)", False, "a pair has an order"),
    (r"\left(1, \frac12\right)", "(1, 0.5)", True, "a pair by value"),
    ("[1,2)", "[1,2]", False, "another interval"),
    (r"(-\infty, 3]", r"(-\infty,3]", True, "infinity"),
    (r"[0,1)\cup(2,3]", r"(2,3] \cup [0,1)", True, "a union in any order"),
    (r"3\pm 1", "2, 4", True, "plus or minus is two answers"),
    ("1e3", "1000", True, "scientific notation"),
    (r"1.5\times10^3", "1500", True, "powers of ten"),
    ("2^{10}", "1024", True, "a small power"),
    (r"\binom{5}{2}", "10", True, "a small binomial"),
    ("5!", "120", True, "a small factorial"),
    (r"1\frac{1}{2}", "3/2", True, "a mixed number"),
    (r"-1\frac12", "-1.5", True, "its sign applies to all of it"),
    (r"\text{B}", "B", True, "a choice"),
    ("(B)", "B", True, "a choice in brackets"),
    ("C", "B", False, "another choice"),
    (r"\text{Yes}", "yes", True, "words"),
    ("no", "yes", False, "other words"),
    ("2 < x", "x > 2", True, "a relation turned around"),
    ("x > 2", r"x \ge 2", False, "another relation"),
    ("50000000000000001", "50000000000000000", False, "large integers exactly"),
    (r"\int_0^1 2x\,dx", "1", False, "an unevaluated integral is no answer"),
    (r"\lim_{n\to\infty} 1", "1", False, "nor is a limit"),
    ("", "5", False, "nothing"),
    ("1/0", "5", False, "division by zero"),
    ("10^{10^{10}}", "5", False, "a tower"),
    ("1000000000!", "5", False, "a factorial"),
    (r"\binom{10^9}{5*10^8}", "5", False, "a binomial"),
    ("((10!)!)!", "5", False, "nested factorials"),
    ("(" * 300 + "1" + ")" * 300, "1", False, "nested deeper than anybody writes"),
    (r"\frac{1}{" * 100 + "2" + "}" * 100, "5", False, "nested fractions"),
    ("9" * 5000, "5", False, "more digits than an answer has"),
]


@pytest.mark.parametrize(("answer", "reference", "same", "why"), EXACT, ids=lambda v: None)
def test_rational_arithmetic_decides_at_once(
    answer: str, reference: str, same: bool, why: str
) -> None:
    assert is_same_answer(answer, reference, exactly_same) is same, why


SYMBOLIC = [
    (r"2\sqrt{2}", r"\sqrt{8}", True, "surds"),
    (r"\frac{\sqrt{3}}{2}", r"\sin(\pi/3)", True, "a value of the sine"),
    (r"x^2+2x+1", "(x+1)^2", True, "expanded"),
    ("yx", "xy", True, "order of factors"),
    (r"\log_2 8", "3", True, "a logarithm"),
    (r"e^{i\pi}", "-1", True, "complex"),
    (r"\pi", "3.14", True, "a constant rounds to the reference"),
    ("3.14", r"\pi", False, "never the other way round"),
    (r"\sqrt{x^2}", "x", False, "only for positive x"),
    ("x", "y", False, "no renaming of variables"),
    ("2 x", "2", False, "a variable is no unit"),
    (r"\sqrt{2}", "1.5", False, "near is not equal"),
    (r"2x+2y=8", "x+y=4", True, "an equation up to a factor"),
    ("2y=4x+2", "y=2x+1", True, "an equation that was solved for y"),
    ("x+y=5", "x+y=4", False, "another equation"),
    (r"\sqrt{3}, \sqrt{2}", r"\{\sqrt 2, \sqrt 3\}", True, "a set of surds"),
]


@pytest.mark.parametrize(("answer", "reference", "same", "why"), SYMBOLIC, ids=lambda v: None)
def test_algebra_decides_the_rest(answer: str, reference: str, same: bool, why: str) -> None:
    with pytest.raises(Undecided):
        is_same_answer(answer, reference, exactly_same)
    assert is_same_answer(answer, reference, symbolically_same) is same, why


def test_roots_of_long_numbers_hold_nobody_up() -> None:
    """They are taken in the trainer's own thread."""
    start = time.process_time()
    for n in range(8):
        root = rf"\sqrt[3]{{(2^{{6600}}+{2 * n + 1})^3}}"
        assert is_same_answer(root, rf"2^{{6600}}+{2 * n + 1}", exactly_same)
    assert time.process_time() - start < 0.4


@settings(deadline=None)
@given(st.integers(0, 10**40), st.integers(2, 64), st.integers(-1, 1))
def test_only_powers_have_a_whole_root(base: int, degree: int, beside: int) -> None:
    value = base**degree + beside * (base > 1)
    root = rational(("root", ("number", Fraction(value)), ("number", Fraction(degree))))
    assert root == (base if value == base**degree else None)


@settings(deadline=None)
@given(st.text(alphabet=r"0123456789+-*/^_!(){}[]|,.=<>\ abcxyzπ√frcsqt", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        tree = parse(text)
    except Unreadable:
        return
    assert isinstance(tree, tuple)


@settings(deadline=None)
@given(
    st.text(alphabet=r"0123456789+-*/^!(){},.=\ x%$", max_size=30),
    st.text(alphabet=r"0123456789+-*/^!(){},.=\ x%$", max_size=30),
)
def test_comparison_raises_nothing_but_undecided(answer: str, reference: str) -> None:
    try:
        is_same_answer(answer, reference, exactly_same)
    except Undecided:
        return


@settings(deadline=None)
@given(st.fractions(), st.fractions())
def test_fractions_are_equal_exactly_when_their_values_are(a, b) -> None:

    left = rf"\frac{{{a.numerator * 3}}}{{{a.denominator * 3}}}"
    assert is_same_answer(left, f"{b.numerator}/{b.denominator}", exactly_same) is (a == b)
