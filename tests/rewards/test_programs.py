"""How programs are run and outputs compared, beyond what the cases of code_cases.yaml pin."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from acereason_trainer.config.common import CodeLimits, Verifier
from acereason_trainer.rewards import Grade, Rewarder, Verdict, make_rewarder
from acereason_trainer.rewards.outputs import same_output, same_value
from acereason_trainer.rewards.program import entry_point

LIMITS = CodeLimits(seconds_per_test=1, seconds_per_program=3, memory_mib=256, output_kib=64)
RIGHT = "print(sum(map(int, open(0).read().split()[1:])))"
SUM = [{"input": "3\n1 2 3\n", "output": "6\n"}, {"input": "2\n10 20\n", "output": "30"}]


@pytest.fixture(scope="module")
def rewarder() -> Iterator[Rewarder]:
    made = make_rewarder("code", Verifier(workers=2, code=LIMITS))
    yield made
    made.close()


def grade(rewarder: Rewarder, program: str, **row: object) -> Grade:
    response = f"Let me think.</think>\nHere:\n```python\n{program}\n```\n"
    return rewarder.submit({"tests": SUM, **row}, response).result(60)


def test_the_sandbox_works_on_after_a_program_died_in_it(rewarder: Rewarder) -> None:
    grade(rewarder, "import os\nos.kill(os.getpid(), 11)")
    assert grade(rewarder, RIGHT + "  # again").verdict == Verdict.CORRECT


@pytest.mark.parametrize(
    ("actual", "expected", "same", "why"),
    [
        ("1\n2\n", "1\n2", True, "a missing newline at the end"),
        ("1 \n2\n\n\n", "1\n2", True, "blanks at line ends, blank lines at the end"),
        ("1  2", "1 2", True, "tokens"),
        ("2.50", "2.5", True, "decimals are numbers"),
        ("3.0", "3", True, "one of the two with a point"),
        ("007", "7", False, "integers are text"),
        ("0.1000000001", "0.1", False, "no tolerance"),
        ("Yes", "YES", False, "case matters"),
        (" *\n***", " *\n***", True, "a picture"),
        ("*\n***", " *\n***", False, "leading spaces of a picture matter"),
        ("a b", "a  b", False, "double spaces that are asked for"),
        ("", "", True, "nothing expected"),
        ("nan", "NaN", False, "no number"),
    ],
)
def test_outputs_compare_as_judges_do(actual: str, expected: str, same: bool, why: str) -> None:
    assert same_output(actual, expected) is same, why


@pytest.mark.parametrize(
    ("actual", "expected", "same"),
    [
        (b"1", "1.0", True),
        (b"true", "1", False),
        (b'"1"', "1", False),
        (b"", "1", False),
        (b"[1, [2]]", "[1, [2]]", True),
        (b'{"a": 1}', '{"a": 1}', True),
        (b'"abc"', '"abc"', True),
        (b"NaN", "NaN", False),
        (b"null", "null", True),
    ],
)
def test_values_compare_by_plain_type(actual: bytes, expected: str, same: bool) -> None:
    assert same_value(actual, expected) is same


@pytest.mark.parametrize(
    ("starter", "entry"),
    [
        ("class Solution:\n    def f(self, a):", "Solution.f"),
        ("def f(a):", "f"),
        (
            "class Node:\n    def __init__(self):\n        pass\n"
            "class Solution:\n    def go(self):",
            "Solution.go",
        ),
    ],
)
def test_the_last_function_of_a_header_is_called(starter: str, entry: str) -> None:
    assert entry_point(starter) == entry


def test_every_test_is_run_where_all_are_asked_for() -> None:
    rewarder = make_rewarder("code", Verifier(workers=1, code=LIMITS), all_tests=True)
    found = grade(rewarder, "print(30)")
    rewarder.close()
    assert found.passed == (False, True)
    assert found.verdict == Verdict.WRONG


def test_the_seconds_of_all_tests_together_are_limited(rewarder: Rewarder) -> None:
    slow = (
        "import time\nt = time.process_time()\nwhile time.process_time() - t < 0.8: pass\nprint(1)"
    )
    tests = [{"input": "", "output": "1"}] * 6
    found = grade(rewarder, slow, tests=tests)
    assert found.verdict == Verdict.TIMEOUT
    assert "together" in found.detail or "0." in found.detail


def test_a_randomised_program_has_one_verdict() -> None:
    program = "import random\nprint(random.random(), list({'a', 'b', 'c', 'd', 'e', 'f'}))"
    details = []
    for _ in range(3):
        rewarder = make_rewarder("code", Verifier(workers=1, code=LIMITS))
        raising = program.replace("print(", "raise Exception(")
        details.append(grade(rewarder, raising).detail)
        rewarder.close()
    assert len(set(details)) == 1


def test_a_test_costs_a_few_milliseconds(rewarder: Rewarder) -> None:
    grade(rewarder, RIGHT)
    tests = [SUM[0]] * 100
    started = time.process_time(), time.monotonic()
    grade(rewarder, RIGHT + "  # once more", tests=tests)
    per_test = (time.monotonic() - started[1]) / 100
    assert per_test < 0.05, "an interpreter per test would take 30 ms or more on an idle machine"


def test_nothing_is_left_behind(rewarder: Rewarder) -> None:
    grade(rewarder, "open('left-behind', 'w')")
    assert not list(Path("/tmp").glob("acereason-zygote-*"))
    assert not Path("left-behind").exists()
