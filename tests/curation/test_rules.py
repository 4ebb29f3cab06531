# ruff: noqa: RUF001
"""The rules, one table: a problem, what must become of it, and why."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from acereason_trainer.config.curate import Curate, Rules
from acereason_trainer.curation.rules import RULES, dropped_by, reasons
from acereason_trainer.dataset import Row


@dataclass(frozen=True)
class Case:
    why: str
    problem: str
    reason: str | None = None
    answer: str | None = "7"
    more: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


TESTS = [{"input": "1", "output": "2"}]
CASES = [
    Case("a plain problem", "Find the smallest prime above 6."),
    Case("a fragment", "2 + 2?", "minProblemCharacters"),
    Case("the length is a setting", "2 + 2?",
         settings={"rules": {"minProblemCharacters": 2}}),
    Case("spaces are no text", "2 + 2?" + " " * 60, "minProblemCharacters"),
    Case("a scraping accident", "Find x. " * 1001, "maxProblemCharacters"),
    Case("an essay as answer", "Describe the set of solutions.", "maxAnswerCharacters", "x" * 101),
    Case("a proof", "Prove that there are infinitely many primes.", "proofs"),
    Case("show that", "Let n be odd. Show that n^2 - 1 is a multiple of 8.", "proofs"),
    Case("the source says proof", "Is every such n composite, and why?", "proofs",
         more={"question_type": "proof"}),
    Case("the answer says proof", "Let n be odd, then n^2 is odd.", "proofs", "proof"),
    Case("proofs kept", "Prove that there are many primes.",
         settings={"rules": {"proofs": "keep"}}),
    Case("improve is not prove", "How can 5 workers improve by 7 percent in total?"),
    Case("show without that", "A show sells 40 tickets at 3 each. How much does it earn?"),
    Case("options in parentheses", "How many? (A) 1 (B) 2 (C) 3 (D) 4 (E) 5", "multipleChoice"),
    Case("AMC's bold options", r"How many? $\textbf{(A)}\ 1 \textbf{(B)}\ 2 \textbf{(C)}\ 3$",
         "multipleChoice"),
    Case("options inside the parentheses", r"How many? (\text{A}) 1 (\text{B}) 2 (\text{C}) 3",
         "multipleChoice"),
    Case("options on lines", "How many are there?\nA. one\nB. two\nC. three", "multipleChoice"),
    Case("which of the following", "Which of the following is a prime?", "multipleChoice"),
    Case("the source says MCQ", "How many primes are below 20?", "multipleChoice",
         more={"question_type": "MCQ"}),
    Case("points are no options", "Triangle ABC has AB = 3, BC = 4 and (A) right. Find AC."),
    Case("true or false", "True or false: 91 is a prime number.", "trueFalse", "no idea"),
    Case("a yes or no answer", "Is the number 91 a prime number?", "trueFalse", "No"),
    Case("a yes in LaTeX", "Is the number 97 a prime number?", "trueFalse", r"$\text{Yes}$"),
    Case("a false start", "How many false coins are there among 12?"),
    Case("lettered parts", "Let f(x) = x^2. (a) Find f(2). (b) Find f(3).", "subQuestions"),
    Case("lettered parts on lines", "Consider x^2 - 4:\na) factor it\nb) solve it", "subQuestions"),
    Case("roman parts", "Let x = 2.\n(i) Find x^2.\n(ii) Find x^3.", "subQuestions"),
    Case("numbered questions", "Given a circle. (1) Find its area. (2) What is its perimeter?",
         "subQuestions"),
    Case("numbered conditions", "Find n such that: (1) n is even; (2) n > 5; (3) n < 8."),
    Case("a function of one", "If f(1) = 2 and f(2) = 3, find f(1) + f(2)."),
    Case("a variable in parentheses", "Given vectors (a) and (b) of length 2, find a + b."),
    Case("a missing figure", "In the figure, AB = 3 and BC = 4. Find AC.", "figures"),
    Case("shown below", "The graph shown below has 5 edges. How many vertices?", "figures"),
    Case("as shown in", "A square is cut as shown in the diagram. Find its area.", "figures"),
    Case("a shaded region", "Find the area of the shaded region.", "figures"),
    Case("an embedded image", "How many are there? ![](https://x.y/z.png)", "figures"),
    Case("a link", "See https://example.org/p/1 for the statement.", "figures"),
    Case("drawn in the text", "In the figure, find AB.\n[asy]draw((0,0)--(1,1));[/asy]"),
    Case("significant figures", "Give pi with 5 significant figures after rounding."),
    Case("the graph of a function", "The graph of y = x^2 crosses y = 4 where x > 0. Find x."),
    Case("a six-figure number", "How many six-figure numbers have digit sum 2?"),
    Case("Chinese", "求满足条件的最小正整数 n 的值是多少呢请回答这个问题", "nonEnglish"),
    Case("Russian", "Найдите наименьшее простое число больше шести.", "nonEnglish"),
    Case("Greek letters are mathematics", "Let α and β be roots of x² = 5x − 6. Find α + β."),
    Case("accents are Latin", "Café Zoë sells crêpes for 7 €. How much is one?"),
    Case("no answer at all", "Find the smallest prime above 6.", "noAnswer", None),
    Case("an answer that says there is none", "Find the smallest prime above 6.", "noAnswer",
         "notfound"),
    Case("worked answers need no reference", "Find the smallest prime above 6.", None, None,
         more={"response": "7"}, settings={"requireResponse": True}),
    Case("no worked answer", "Find the smallest prime above 6.", "requireResponse",
         settings={"requireResponse": True}),
    Case("code with tests", "Read n and print n + 1.", None, None, more={"tests": TESTS}),
    Case("too few tests", "Read n and print n + 1.", "minTests", None, more={"tests": TESTS},
         settings={"rules": {"minTests": 2}}),
    Case("code without tests cannot be checked", "Read n and print n + 1.", "noAnswer", "7",
         more={"domain": "code"}),
    Case("worked code needs no tests", "Read n and print n + 1.", None, None,
         more={"domain": "code", "response": "print"}, settings={"requireResponse": True}),
    Case("lists in programs are no options", "Read a list:\nA. first\nB. second\nC. third", None,
         None, more={"tests": TESTS}),
    Case("the other domain", "Read n and print n + 1.", "domain", None, more={"tests": TESTS},
         settings={"domain": "math"}),
    Case("out of range", "Find the smallest prime above 6.", "where", more={"difficulty": 6},
         settings={"where": [{"column": "difficulty", "max": 5}]}),
    Case("in range", "Find the smallest prime above 6.", None, more={"difficulty": 5},
         settings={"where": [{"column": "difficulty", "max": 5}]}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.why)
def test_rules(case: Case) -> None:
    data = {"problem": case.problem, **case.more}
    if case.answer is not None:
        data["answer"] = case.answer
    assert dropped_by(Row("r", data), Curate.parse(case.settings)) == case.reason


def test_every_rule_has_a_case_and_a_setting_of_its_name() -> None:
    assert {case.reason for case in CASES} - {None} == set(reasons())
    settings = {field.alias for field in Rules.model_fields.values()}
    assert {rule.reason for rule in RULES} == settings
