"""Tests are packed once, sent once, and never mixed up, whatever is remembered or forgotten."""

import math
import re
from collections import OrderedDict

import pytest
from acereason_trainer.config.common import CodeLimits, Verifier
from acereason_trainer.rewards import make_rewarder
from acereason_trainer.rewards.jobs import CodeJob, Setup, WantsTests, in_brief
from acereason_trainer.rewards.pool import Worker
from acereason_trainer.rewards.problem_tests import (
    UNPACKED_BYTES,
    BadTests,
    Packer,
    RecentlyUsed,
    Test,
    read_tests,
    unpacked,
)
from acereason_trainer.rewards.protocol import Grade, Verdict
from hypothesis import given
from hypothesis import strategies as st

VERIFIER = Verifier(workers=1, code=CodeLimits(seconds_per_test=2, memory_mib=256))


def expecting(output: str, padding: int = 0) -> list[dict[str, object]]:
    return [{"input": "x" * padding, "output": output}]


def test_the_tests_of_a_row_are_packed_once_and_as_they_are() -> None:
    packer = Packer()
    tests = [{"input": [1, 2.5], "output": {"a": None}, "note": "stays behind", "seconds": 0.5}]
    packed = packer.packed(tests, "f")
    assert packer.packed(tests, "f") is packed
    assert unpacked(packed.content) == (Test("[1, 2.5]", '{"a": null}', "f", 0.5),)
    assert packer.packed(expecting("1")).digest != packed.digest
    assert packer.packed(expecting("1")).digest == packer.packed(expecting("1")).digest


@pytest.mark.parametrize(
    ("test", "sentence"),
    [
        ({"call": "f.g.h", "args": [], "expected": 1}, "tests[0].call is 'f.g.h'; it must be"),
        ({"call": "f", "args": [], "expected": [1, math.nan]}, "tests[0].expected holds NaN"),
        ({"input": [1], "output": "[NaN]"}, "tests[0].output holds NaN"),
        ({"input": [1], "output": {"a": math.nan}}, "tests[0].output holds NaN"),
    ],
)
def test_a_test_that_nothing_can_pass_is_refused(test: dict[str, object], sentence: str) -> None:
    with pytest.raises(BadTests, match=re.escape(sentence)):
        read_tests([test], "f")


def test_what_can_be_passed_is_no_bad_test() -> None:
    given = [
        {"call": "Class.method", "args": [math.nan], "expected": "NaN"},
        {"call": "f", "args": [], "expected": math.inf},
        {"input": [1], "output": "NaN is no number"},
    ]
    assert [test.expected for test in read_tests(given, "f")] == [
        '"NaN"',
        "Infinity",
        '"NaN is no number"',
    ]


def test_tests_that_come_and_go_in_one_place_in_memory_are_told_apart() -> None:
    packer = Packer(limit=1)
    outputs = [unpacked(packer.packed(expecting(str(n))).content)[0].expected for n in range(50)]
    assert outputs == [str(n) for n in range(50)]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6)), max_size=60), st.integers(1, 12))
def test_the_last_used_are_remembered_up_to_a_size(
    asked: list[tuple[int, int]], limit: int
) -> None:
    recent: RecentlyUsed[int, int] = RecentlyUsed(limit)
    size_of = dict(reversed(asked))
    expected: OrderedDict[int, int] = OrderedDict()
    for key, _ in asked:
        found = recent.get(key)
        assert (found is not None) == (key in expected)
        if found is None:
            recent.put(key, key, size_of[key])
            expected[key] = size_of[key]
            while sum(expected.values()) > limit and len(expected) > 1:
                expected.popitem(last=False)
        else:
            assert found == key
            expected.move_to_end(key)


@pytest.fixture
def worker() -> Worker:
    return Worker(Setup("code", VERIFIER), seconds=60)


def a_job(output: str, padding: int = 0) -> CodeJob:
    packed = Packer().packed(expecting(output, padding))
    return CodeJob("print(1)", packed.digest, packed.content)


def test_a_worker_asks_for_tests_once_and_again_after_it_forgot_them(worker: Worker) -> None:
    small, large = a_job("1"), a_job("2", padding=UNPACKED_BYTES)
    try:
        worker.start()
        answers = [
            worker._exchange(message, 60)
            for message in (
                *(in_brief(small), small, in_brief(small)),
                *(large, in_brief(large), in_brief(small), small),
            )
        ]
    finally:
        worker.stop()
    verdicts = [a.verdict if isinstance(a, Grade) else a for a in answers]
    assert verdicts == [
        *(WantsTests(), Verdict.CORRECT, Verdict.CORRECT),
        *(Verdict.WRONG, Verdict.WRONG, WantsTests(), Verdict.CORRECT),
    ]


def test_a_worker_that_took_the_place_of_a_lost_one_gets_the_tests_again(worker: Worker) -> None:
    try:
        assert worker.check(a_job("1")).verdict is Verdict.CORRECT
        worker.stop()
        assert worker.check(a_job("1")).verdict is Verdict.CORRECT
    finally:
        worker.stop()


def test_many_responses_to_a_problem_get_the_verdicts_of_its_own_tests() -> None:
    rewarder = make_rewarder("code", VERIFIER)
    rows = [{"tests": expecting(str(n))} for n in range(3)]
    grades = [
        [rewarder.submit(row, f"</think>\n```python\nprint({n})\n```") for n in range(4)]
        for row in rows
    ]
    right = [[g.result(60).reward == 1 for g in of_row] for of_row in grades]
    rewarder.close()
    assert right == [[n == m for m in range(4)] for n in range(3)]
