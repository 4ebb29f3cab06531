"""Random responses, tests, outputs and programs: no crash, no hang, only verdicts that there are.

    python -m tests.rewards.fuzz_code --minutes 10

Hypothesis makes the inputs and shrinks what fails. Half of the time goes to what runs in the
trainer's own process (extraction, test forms, comparators), half to whole checks in the sandbox,
with programs that are mutated from those of code_cases.yaml.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from acereason_trainer.config.common import CodeLimits, Verifier
from acereason_trainer.rewards import Rewarder, Verdict, make_rewarder
from acereason_trainer.rewards.cases import BadCase, read_case
from acereason_trainer.rewards.outputs import (
    lcb_same_output,
    lcb_same_value,
    same_output,
    same_value,
)
from acereason_trainer.rewards.problem_tests import BadTests, pack, read_tests, unpacked
from acereason_trainer.rewards.program import python_program
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.rewards.code_cases import code_cases

SECONDS_AT_MOST = 2.0
"""For what the trainer does itself, whatever the input."""
_EXAMPLES, _EXAMPLES_IN_SANDBOX = 300, 20

_PIECES = ["```", "````", "~~~", "python", "py", "\n", "\r\n", "  ", "\t", "</think>", "<think>"]
_PIECES += ["def f(a):", "    return a", "print(1)", "class Solution:", "`", "x" * 500, " " * 500]
RESPONSES = st.one_of(
    st.text(max_size=300),
    st.lists(st.sampled_from(_PIECES) | st.text(max_size=5), max_size=60).map("".join),
    st.tuples(st.sampled_from(_PIECES), st.integers(1, 20_000)).map(lambda p: p[0] * p[1]),
)
STARTERS = st.sampled_from(["def f(a):", "class Solution:\n    def f(self, a):", "async def f():"])
NUMBERS = st.one_of(
    st.integers(), st.floats(), st.decimals(), st.sampled_from(["1e999", "-0", "1_0", "9" * 9000])
).map(str)
OUTPUTS = st.one_of(
    st.text(max_size=200),
    st.lists(NUMBERS | st.sampled_from([" ", "\n", "  ", "\t", "NaN", "sNaN", "inf"])).map(
        " ".join
    ),
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)
VALUES = st.one_of(
    PLAIN.map(json.dumps),
    OUTPUTS,
    st.integers(1, 50_000).map(lambda n: "[" * n),
    st.integers(1, 9000).map(lambda n: "9" * n),
)
FORMS = st.dictionaries(
    st.sampled_from(["input", "output", "stdin", "stdout", "call", "args", "expected", "seconds"]),
    PLAIN,
)
TOLERANCES = st.none() | st.floats(min_value=1e-12, max_value=1)


@given(RESPONSES, st.none() | STARTERS)
def extraction(response: str, starter: str | None) -> None:
    """What is taken for the program stands in the response, after the reasoning."""
    found = python_program(response, starter)
    if found is not None and starter is None:
        squeezed = re.sub(r"\s", "", response.rpartition("</think>")[2])
        assert re.sub(r"\s", "", found.source) in squeezed


@given(OUTPUTS, OUTPUTS, TOLERANCES)
def outputs(actual: str, expected: str, tolerance: float | None) -> None:
    """An output is itself; what is equal exactly is equal within any tolerance."""
    assert same_output(expected, expected, tolerance)
    assert lcb_same_output(expected, expected)
    if same_output(actual, expected):
        assert same_output(actual, expected, tolerance)
    lcb_same_output(actual, expected)


@given(VALUES, VALUES, TOLERANCES)
def values(actual: str, expected: str, tolerance: float | None) -> None:
    """Equality has no direction where there is no tolerance."""
    left, right = actual.encode("utf-8", "replace"), expected.encode("utf-8", "replace")
    assert same_value(left, expected) == same_value(right, actual)
    if same_value(left, expected):
        assert same_value(left, expected, tolerance)
    lcb_same_value(left, expected)


@given(st.lists(FORMS, max_size=4) | PLAIN, st.none() | st.just("f"))
def forms(tests: Any, entry: str | None) -> None:
    """Tests are read, or refused with a sentence; what is packed comes out as it went in."""
    try:
        read = read_tests(tests, entry)
    except BadTests:
        return
    assert unpacked(pack(read).content) == read


@given(st.binary(max_size=200) | st.dictionaries(st.text(max_size=8), PLAIN).map(json.dumps))
def cases(line: bytes | str) -> None:
    """A line is a case, or refused with a sentence."""
    try:
        read_case(line.encode("utf-8", "replace") if isinstance(line, str) else line)
    except BadCase as e:
        assert str(e)


def programs(rewarder: Rewarder) -> Callable[[], None]:
    """Whole checks of mutated programs: each ends, with a verdict about the program."""
    sources = [c["response"] for c in code_cases() if c["verdict"] != "timeout"]
    lines = [line for source in sources for line in source.splitlines()]

    @given(
        st.sampled_from(sources),
        st.lists(st.tuples(st.integers(0, 40), st.sampled_from(lines) | st.text(max_size=20))),
        st.sampled_from([c["tests"] for c in code_cases()]),
        st.none() | STARTERS,
    )
    def checks(source: str, edits: list[tuple[int, str]], tests: Any, starter: str | None) -> None:
        kept = source.splitlines()
        for place, line in edits[:3]:
            kept.insert(place % (len(kept) + 1), line)
        try:
            read_tests(tests, starter and "f")
        except BadTests:
            return
        row = {"tests": tests, "starter": starter}
        grade = rewarder.submit(row, "\n".join(kept)).result(120)
        assert grade.verdict in Verdict
        assert grade.verdict is not Verdict.INFRA_ERROR, grade.detail

    return checks


IN_PROCESS: tuple[Callable[[], None], ...] = (extraction, outputs, values, forms, cases)


def fuzz(seconds: float) -> int:
    """Fuzz for so long; returns how many examples were tried. Raises what hypothesis found."""
    tried = 0
    until = time.monotonic() + seconds
    limits = CodeLimits(seconds_per_test=1, seconds_per_program=3, memory_mib=128, output_kib=64)
    verifier = Verifier(workers=2, code=limits, service="local")
    with closing(make_rewarder("code", verifier, require_think=False)) as rewarder:
        in_process = [_searched(target, _EXAMPLES, SECONDS_AT_MOST) for target in IN_PROCESS]
        in_sandbox = _searched(programs(rewarder), _EXAMPLES_IN_SANDBOX, 120.0)
        while time.monotonic() < until:
            half = time.monotonic() + min(30.0, (until - time.monotonic()) / 2)
            while time.monotonic() < half:
                for search in in_process:
                    search()
                    tried += _EXAMPLES
            half = time.monotonic() + min(30.0, until - time.monotonic())
            while time.monotonic() < half:
                in_sandbox()
                tried += _EXAMPLES_IN_SANDBOX
    return tried


def _searched(target: Callable[[], None], examples: int, seconds: float) -> Callable[[], None]:
    """The target with its settings, which hypothesis lets a test get once."""
    search: Callable[[], None] = settings(
        max_examples=examples,
        deadline=seconds * 1000,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )(target)
    return search


def main() -> int:
    """Fuzz, and say what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    options = parser.parse_args()
    tried = fuzz(options.minutes * 60)
    print(f"code: {tried:,} examples in {options.minutes:g} minutes, nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
