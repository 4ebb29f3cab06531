"""Names of Jobs, and what a run keeps."""

import re
from datetime import timedelta

import pytest
from acereason_operator.planner.names import LONGEST, job_name
from acereason_operator.planner.retention import roots
from acereason_operator.planner.times import parse_duration, parse_time, rfc3339
from hypothesis import given
from hypothesis import strategies as st
from planner_builders import STAGES, Desk, a_dead_pod, a_run, done

LABELS = st.from_regex(r"\A[a-z]([-a-z0-9]{0,38}[a-z0-9])?\Z")


def test_a_plain_name_reads_as_what_it_is() -> None:
    assert job_name("quickstart", "", "sft", 2, "Train") == "quickstart-sft-2-train"


@given(run=LABELS, stage=LABELS, uid=st.sampled_from(["", "3f1c"]), attempt=st.integers(1, 1300))
def test_a_name_fits_a_dns_label_with_a_pods_index(
    run: str, stage: str, uid: str, attempt: int
) -> None:
    name = job_name(run, uid, stage, attempt, "Prepare")
    assert len(name) <= LONGEST
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)
    assert name == job_name(run, uid, stage, attempt, "Prepare")


def test_runs_that_spell_the_same_name_do_not_share_a_job() -> None:
    assert job_name("a-b", "uid-1", "c", 1, "Train") != job_name("a", "uid-2", "b-c", 1, "Train")


def test_long_names_that_differ_at_the_end_stay_different() -> None:
    long = "a" * 39
    assert job_name(long, "", long + "b", 1, "Train") != job_name(long, "", long + "c", 1, "Train")


def test_times_are_whole_seconds_in_utc_and_durations_are_gos() -> None:
    moment = parse_time("2026-01-31T13:30:00+01:00")
    assert rfc3339(moment + timedelta(milliseconds=900)) == "2026-01-31T12:30:00Z"
    assert parse_duration("1h30m500ms") == timedelta(hours=1, minutes=30, milliseconds=500)


TWO_MODELS = [
    *STAGES,
    {
        "name": "eval",
        "evaluate": {"sets": [{"name": "a", "file": "a"}]},
        "inputs": {"data": {"path": "e"}},
    },
]


@pytest.mark.parametrize(
    ("retention", "artifacts", "states"),
    [
        (
            {},
            {"key-prompts", "key-sft", "key-math", "key-eval", "model-base", "data-prompts"},
            "newest",
        ),
        (
            {"keepIntermediate": "final", "keepStates": "none"},
            {"key-prompts", "key-math", "key-eval"},
            "none",
        ),
    ],
    ids=["all that was made or read", "only what nothing later of its kind was built on"],
)
def test_a_complete_run_keeps_what_its_retention_says(
    retention: dict[str, str], artifacts: set[str], states: str
) -> None:
    desk = Desk(a_run(TWO_MODELS, retention=retention))
    desk.reaches("eval")
    desk.ends("eval", a_dead_pod(0, result=done("key-eval")))
    kept = roots(desk.run, desk.status)
    assert kept.keys == artifacts
    assert set(kept.states.values()) == {states}


def test_a_run_that_may_go_on_keeps_everything() -> None:
    desk = Desk(a_run(TWO_MODELS, retention={"keepIntermediate": "final", "keepStates": "none"}))
    desk.reaches("math")
    kept = roots(desk.run, desk.status)
    assert {"key-sft", "model-base"} <= kept.keys
    assert "key-math" in kept.keys, "what an attempt may have published, and nobody has seen yet"
    assert kept.states == {"prompts": "none", "sft": "none", "math": "all", "eval": "all"}
