"""What goes over the wire comes out the same: a field that were forgotten would change verdicts."""

import dataclasses
import json
from typing import Any, get_type_hints

import pytest
from acereason_trainer.config.common import CodeLimits, Verifier
from acereason_trainer.config.stage_file import settings_for_key
from acereason_trainer.rewards.jobs import CodeJob, MathJob, Setup
from acereason_trainer.rewards.problem_limits import ProblemLimits
from acereason_trainer.rewards.protocol import Grade
from acereason_trainer.rewards.wire import GradeLine, read_request, write_grade_line, write_request
from hypothesis import given
from hypothesis import strategies as st

FINITE = st.floats(min_value=1e-9, max_value=1e9)
LIMITS = st.builds(
    ProblemLimits,
    seconds=st.none() | FINITE,
    memory_mib=st.none() | st.integers(1, 65536),
    tolerance=st.none() | FINITE,
)
CODE = st.builds(
    CodeJob,
    source=st.text(),
    digest=st.binary(min_size=16, max_size=16),
    tests=st.none(),
    limits=LIMITS,
    before=st.lists(st.text()).map(tuple),
)
MATH = st.builds(MathJob, answer=st.text(), reference=st.text())
VERIFIERS = st.builds(
    Verifier,
    service=st.sampled_from(["auto", "http://here:1"]),
    math_seconds=st.floats(0.001, 600),
    code=st.builds(CodeLimits, seconds_per_test=st.floats(0.001, 600), output_kib=st.just(7)),
)


def choices(field: str) -> Any:
    """Values of one of Setup's fields, from its type."""
    return st.from_type(get_type_hints(Setup)[field])


SETUPS = {
    "math": st.builds(Setup, st.just("math"), VERIFIERS, math_grader=choices("math_grader")),
    "code": st.builds(
        Setup,
        st.just("code"),
        VERIFIERS,
        all_tests=choices("all_tests"),
        comparator=choices("comparator"),
    ),
}
STRATEGIES = {"math": MATH, "code": CODE}


@pytest.mark.parametrize("kind", ["math", "code"])
@given(data=st.data())
def test_jobs_and_their_setup_arrive_as_they_are(kind: str, data: st.DataObject) -> None:
    setup = data.draw(SETUPS[kind])
    drawn = data.draw(st.lists(STRATEGIES[kind], min_size=1, max_size=5))
    jobs = [(str(n), job) for n, job in enumerate(drawn)]
    request = read_request(write_request(setup, jobs, 12.5))
    arrived = request.setup()
    assert [(item.id, item.job()) for item in request.jobs] == jobs
    assert request.deadline_seconds == 12.5
    assert settings_for_key(arrived.verifier) == settings_for_key(setup.verifier)
    assert dataclasses.replace(arrived, verifier=setup.verifier) == setup


def test_no_new_field_is_forgotten_above() -> None:
    """The strategies name every field that can travel."""
    names = {cls: {f.name for f in dataclasses.fields(cls)} for cls in (Setup, MathJob, CodeJob)}
    assert names[Setup] == {
        *("kind", "verifier", "all_tests", "math_grader", "comparator"),
        *("function", "path"),  # these two stay on the machine
    }
    assert names[MathJob] == {"answer", "reference"}
    assert names[CodeJob] == {"source", "digest", "tests", "limits", "before"}


@given(st.from_type(Grade))
def test_grades_arrive_as_they_are(grade: Grade) -> None:
    line = write_grade_line("7", grade)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    answer = GradeLine.parse_json(line)
    assert answer.id == "7"
    # repr: a NaN is not equal to itself
    assert repr(answer.grade()) == repr(grade)


def test_who_asks_stays_at_home() -> None:
    """The same limits from two trainers are served by the same workers."""
    body = write_request(
        Setup("math", Verifier(service="http://x:1", workers=64)), [("1", MathJob("1", "2"))], 1
    )
    assert (
        json.loads(body)["verifier"]
        == json.loads(write_request(Setup("math", Verifier()), [("1", MathJob("1", "2"))], 1))[
            "verifier"
        ]
    )
