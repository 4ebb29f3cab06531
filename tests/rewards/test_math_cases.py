"""The math corpus: each line of math_cases.jsonl is a response, an answer, a verdict, and what it
pins. Graded as training grades, through the exact lane and the worker processes."""

import json
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from acereason_trainer.config.common import Verifier
from acereason_trainer.rewards import Grade, Verdict, make_rewarder

CASES = [
    json.loads(line)
    for line in Path(__file__).with_name("math_cases.jsonl").read_text("utf-8").splitlines()
]


@pytest.fixture(scope="module")
def grades() -> "Iterator[list[Future[Grade]]]":
    """All cases, handed over at once as the responses of a batch."""
    rewarder = make_rewarder("math", Verifier(service="local", workers=2))
    yield [rewarder.submit({"answer": c["answer"]}, c["response"]) for c in CASES]
    rewarder.close()


@pytest.mark.parametrize(
    "number", range(len(CASES)), ids=[f"{n + 1}-{c['pins']}" for n, c in enumerate(CASES)]
)
def test_the_verdict_of_a_case_is_the_one_written_beside_it(
    grades: "list[Future[Grade]]", number: int
) -> None:
    grade = grades[number].result(120)
    assert grade.verdict == CASES[number]["verdict"]
    assert grade.reward == float(grade.verdict is Verdict.CORRECT)


def test_the_corpus_is_large_and_says_of_each_case_what_it_pins() -> None:
    assert len(CASES) >= 150
    assert all(set(c) == {"response", "answer", "verdict", "pins"} for c in CASES)
    pairs = {(c["response"], c["answer"]) for c in CASES}
    assert len(pairs) == len(CASES), "a case stands there twice"
