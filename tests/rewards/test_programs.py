"""How programs are run and outputs compared, beyond what the cases of code_cases.yaml pin."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from acereason_trainer.config.common import CodeLimits, Verifier
from acereason_trainer.processes import cpu_seconds
from acereason_trainer.rewards import Grade, Rewarder, Verdict, make_rewarder
from acereason_trainer.rewards.outputs import same_output, same_value
from acereason_trainer.rewards.program import Program, entry_point
from acereason_trainer.rewards.sandbox import Allowance, Sandbox

from tests.rewards.code_cases import code_cases
from tests.verifier.services import children_of

LIMITS = CodeLimits(seconds_per_test=1, seconds_per_program=3, memory_mib=256, output_kib=64)
ALLOWANCE = Allowance(cpu_seconds=1, idle_seconds=2, memory_mib=256, output_bytes=1 << 16)
RIGHT = "print(sum(map(int, open(0).read().split()[1:])))"
SUM = [{"input": "3\n1 2 3\n", "output": "6\n"}, {"input": "2\n10 20\n", "output": "30"}]


@pytest.fixture(scope="module")
def rewarder() -> Iterator[Rewarder]:
    made = make_rewarder("code", Verifier(workers=2, code=LIMITS))
    yield made
    made.close()


def grade(rewarder: Rewarder, program: str, **row: object) -> Grade:
    response = f"Let me think.</think>\nHere:\n```python\n{program}\n```\n"
    return rewarder.submit({"tests": SUM, **row}, response).result(180)


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


def test_the_seconds_of_all_tests_together_are_limited() -> None:
    limits = CodeLimits(seconds_per_test=1, seconds_per_program=1)
    rewarder = make_rewarder("code", Verifier(workers=1, code=limits))
    slow = (
        "import time\nt = time.process_time()\nwhile time.process_time() - t < 0.4: pass\nprint(1)"
    )
    tests = [{"input": "", "output": "1"}] * 6
    found = grade(rewarder, slow, tests=tests)
    rewarder.close()
    assert found.verdict == Verdict.TIMEOUT
    assert found.detail == "test 3 of 6: all tests together took more than 1 s"


@pytest.mark.parametrize("module", ["random", "numpy.random"])
def test_a_randomised_program_has_one_verdict(module: str) -> None:
    program = f"import {module} as r\nraise Exception(r.random(), list({{'a', 'b', 'c', 'd'}}))"
    details = []
    for _ in range(2):
        rewarder = make_rewarder("code", Verifier(workers=1, code=LIMITS))
        details += [grade(rewarder, program + "  #" * n).detail for n in range(2)]
        rewarder.close()
    assert len(set(details)) == 1
    assert re.search(r"Exception: \(0\.\d{9,}, \[('[abcd]'(, )?){4}\]\)", details[0]), details[0]


def test_numpy_is_imported_once_and_not_on_each_test_s_clock() -> None:
    """An import takes a quarter of a second."""
    rewarder = make_rewarder("code", Verifier(workers=1))
    tests = [{"input": str(n), "output": f"True\n{n}"} for n in range(20)]
    program = (
        "import sys\nprint('numpy' in sys.modules)\n"
        "import numpy as np\nprint(np.array([int(input())])[0])"
    )
    found = grade(rewarder, program, tests=tests)
    rewarder.close()
    assert found.verdict == Verdict.CORRECT, found.detail


def test_a_program_is_looked_through_for_imports_in_proportion_to_its_length() -> None:
    """No limit of the program's holds there."""
    sandbox = Sandbox()
    try:
        outcome = sandbox.run(Program("print(1)  # " + "import " * 32_000), None, b"", ALLOWANCE)
        assert outcome.stdout == b"1\n"
        assert sandbox._process is not None
        assert cpu_seconds(sandbox._process.pid) < 5
    finally:
        sandbox.close()


WRITERS = [case for case in code_cases() if case["pins"].startswith("idiom:")]


def test_programs_pass_however_they_write_in_the_interpreter_of_livecodebench_too() -> None:
    rewarder = make_rewarder("code", Verifier(workers=2, code=LIMITS), comparator="lcb")
    futures = [rewarder.submit({"tests": c["tests"]}, c["response"]) for c in WRITERS]
    found = {c["pins"]: f.result(180) for c, f in zip(WRITERS, futures, strict=True)}
    rewarder.close()
    assert {p: g.detail for p, g in found.items() if g.verdict != Verdict.CORRECT} == {}


def test_a_prepared_name_is_not_what_the_problem_asks_for(rewarder: Rewarder) -> None:
    """`product` is itertools', and was called for the method."""
    program = "class Solution:\n    def product(self, a, b):\n        return a * b"
    tests = [{"input": "[6, 7]", "output": "42"}]
    found = grade(rewarder, program, tests=tests, starter="def product(a, b):")
    assert found.verdict == Verdict.CORRECT, found.detail


def test_a_test_is_a_fork_and_starts_no_interpreter() -> None:
    """A fork costs about 2 ms of CPU time, an interpreter 30."""
    sandbox = Sandbox()
    program = Program("import os, sys\nprint([os.getppid(), *sys.orig_argv])")
    try:
        for _ in range(2):
            outcome = sandbox.run(program, None, b"", ALLOWANCE)
            assert sandbox._process is not None
            zygote = [sandbox._process.pid, *sandbox._process.args]
            assert (outcome.exit_status, outcome.stdout.decode()) == (0, f"{zygote}\n")
    finally:
        sandbox.close()


def test_nothing_is_left_behind(rewarder: Rewarder) -> None:
    grade(rewarder, "open('left-behind', 'w')")
    nurseries = children_of(os.getpid())
    checkers = [pid for nursery in nurseries for pid in children_of(nursery)]
    sandboxes = [pid for checker in checkers for pid in children_of(checker)]
    assert sandboxes
    assert not [pid for pid in sandboxes if Path(f"/tmp/acereason-zygote-{pid}").exists()]
    assert not Path("left-behind").exists()
