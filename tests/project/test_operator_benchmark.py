"""The operator's benchmark's own decisions: percentiles, requests of a run, growth, goals."""

import json
from typing import Any

import pytest
from acereason_operator.api.run import AceReasonRun
from acereason_operator.cluster import labels
from acereason_trainer.config.stage_file import PrepareRecord, ResultRecord

from benchmarks.operator_figures import (
    GOALS,
    goals_of,
    growth,
    missed,
    of_histogram,
    per_run,
    percentiles,
    requests_between,
)
from benchmarks.operator_phases import run_body
from benchmarks.operator_player import record_of
from benchmarks.operator_process import reading
from benchmarks.operator_tables import told, told_in_full, told_of_churn

INF = float("inf")


@pytest.mark.parametrize(
    ("seconds", "found", "why"),
    [
        ([], {}, "nothing was measured"),
        ([0.2], {"p50": 200.0, "p95": 200.0, "p99": 200.0}, "one value is all of them"),
        (
            [i / 1000 for i in range(1000, 0, -1)],
            {"p50": 501.0, "p95": 951.0, "p99": 991.0},
            "in any order, each a value that was measured",
        ),
    ],
)
def test_percentiles_are_measured_values(
    seconds: list[float], found: dict[str, float], why: str
) -> None:
    assert percentiles(seconds) == found, why


@pytest.mark.parametrize(
    ("before", "after", "found", "why"),
    [
        ({}, {}, {}, "no histogram"),
        ({0.1: 5, INF: 5}, {0.1: 5, INF: 5}, {}, "nothing between the readings"),
        (
            {0.1: 5, 0.2: 5, INF: 5},
            {0.1: 5, 0.2: 105, INF: 105},
            {"p50": 150.0, "p95": 195.0, "p99": 199.0},
            "linear inside a bucket, what was counted before left out",
        ),
        (
            {},
            {0.1: 50, 0.2: 50, INF: 100},
            {"p50": 100.0, "p95": 200.0, "p99": 200.0},
            "beyond the last bound counts as that bound",
        ),
    ],
)
def test_percentiles_of_a_histogram(
    before: dict[float, float], after: dict[float, float], found: dict[str, float], why: str
) -> None:
    assert of_histogram(before, after) == found, why


def test_requests_of_a_run_leave_out_lease_and_relists_and_tell_events_apart() -> None:
    before = {"create": 100.0, "replace": 7.0}
    after = {"create": 230.0, "replace": 90.0, "list": 3.0, "write_status": 130.0, "apply": 10.0}
    assert per_run(before, after, runs=10, jobs=80) == {
        "byVerb": {"apply": 1.0, "create": 13.0, "write_status": 13.0},
        "jobCreations": 8.0,
        "events": 5.0,
        "writesWithoutEvents": 22.0,
    }


def test_silence_is_no_requests() -> None:
    assert requests_between({"get": 3.0, "list": 1.0}, {"get": 3.0, "list": 4.0}) == {}


@pytest.mark.parametrize(
    ("mib", "grown"),
    [([80.0] * 100, 0.0), ([*range(100)], 49.0), ([*range(50), *[50] * 50], 0.0), ([1.0], 0.0)],
)
def test_growth_is_that_of_the_second_half(mib: list[float], grown: float) -> None:
    assert growth(mib) == pytest.approx(grown)


def test_a_page_of_metrics_is_read() -> None:
    found = reading(
        'acereason_api_requests_total{verb="get",code="200"} 2.0\n'
        'acereason_api_requests_total{verb="get",code="404"} 1.0\n'
        'acereason_workqueue_queue_duration_seconds_bucket{le="0.1"} 4.0\n'
        'acereason_workqueue_queue_duration_seconds_bucket{le="+Inf"} 5.0\n'
        'acereason_runs{state="Complete"} 7.0\n'
        "acereason_leader 1.0\n",
        cpu=1.5,
    )
    assert dict(found.requests) == {"get": 3.0}
    assert found.queue_wait == {0.1: 4.0, INF: 5.0}
    assert found.runs == {"Complete": 7.0}
    assert found.leads


def test_the_runs_of_the_benchmark_are_runs() -> None:
    run = AceReasonRun.parse(run_body("run-00000"))
    assert len(run.spec.stages) == 4


def _pod(phase: str, file: dict[str, Any]) -> dict[str, Any]:
    annotations = {labels.STAGE_FILE: json.dumps(file)}
    return {"metadata": {"labels": {labels.PHASE: phase}, "annotations": annotations}}


def test_the_players_records_are_read_as_prepares_and_launchers() -> None:
    file = {"run": "r", "settings": {"sft": {}}, "inputs": {"data": {"path": "rows.jsonl"}}}
    prepared = PrepareRecord.parse_json(record_of(_pod("prepare", file)))
    assert prepared.key and prepared.key.startswith("sft-")
    assert prepared.inputs is not None and prepared.inputs.data is not None
    result = ResultRecord.parse_json(record_of(_pod("train", {"prepared": {"key": prepared.key}})))
    assert result.artifact is not None and result.artifact.kind == "model"
    other = PrepareRecord.parse_json(record_of(_pod("prepare", {**file, "run": "s"})))
    assert other.key != prepared.key, "no run finds another one's artifact"


def _window(runs: int, p99: float) -> dict[str, Any]:
    waits = {"p50": 40.0, "p95": 80.0, "p99": p99}
    return {
        "runs": runs,
        "seconds": 60.0,
        "podEndToNextJobMs": waits,
        "queueWaitMs": waits,
        "workMs": waits,
        "cpuSecondsPerStage": 0.03,
        "residentMib": 90.0,
        "coresInUse": {"others": 0.1},
        "coldStart": {
            "seconds": 3.0,
            "residentMib": 100.0,
            "objects": {"jobs": 2 * runs, "pods": 2 * runs},
            "packedMib": 1.0,
        },
        "failover": {"leadsAfterSeconds": 15.0, "nextJobAfterSeconds": 15.5},
    }


def _result(**more: Any) -> dict[str, Any]:
    result = {
        "machine": {"cores": 2},
        "load": {"endsPerSecond": 9.0},
        "idle": {"residentMib": 70.0},
        "wholeRuns": {
            **_window(100, 90.0),
            "perRun": {
                "byVerb": {"create": 13.0},
                "jobCreations": 8.0,
                "events": 5.0,
                "writesWithoutEvents": 22.0,
            },
            "quiet": {"seconds": 20, "finished": 100, "suspended": 10, "requests": {}},
        },
        "active": [_window(300, 120.0), _window(1000, 140.0)],
        "finished": _window(300, 0.0),
        **more,
    }
    return {**result, "goals": goals_of(result)}


def _hour(growth_mib: float) -> dict[str, Any]:
    churn = {
        "runsGone": 400,
        "runsAtATime": 30,
        "seconds": 3600,
        "growthMib": growth_mib,
        "residentMib": {"start": 80.0, "middle": 89.0, "end": 90.0},
    }
    return {"churn": churn, "goals": goals_of({"churn": churn})}


def test_a_result_that_meets_every_goal_says_so() -> None:
    result = _result()
    assert len(result["goals"]) + len(_hour(0.0)["goals"]) == len(GOALS)
    assert missed(result["goals"]) == []
    assert told_in_full(result)[-1] == "Every goal is met."


def test_an_hour_in_which_memory_grew_says_so() -> None:
    told_of, *missed_of = told_of_churn(_hour(0.1))
    assert "400 runs" in told_of
    assert "60 minutes" in told_of
    assert "+0.10 MiB" in told_of
    assert missed_of == []
    (missed_of_it,) = told_of_churn(_hour(2.5))[1:]
    assert "2.5, must be at most 2" in missed_of_it


def test_each_missed_goal_is_a_sentence() -> None:
    result = _result(active=[_window(300, 151.0)], idle={"residentMib": 129.0})
    assert missed(result["goals"]) == [
        "MiB resident without runs: 129, must be at most 128",
        "ms from a pod's end to the next Job, p99 at 300 active runs: 151, must be at most 150",
        "ms from a pod's end to the next Job, p99 at 1,000 active runs: not measured,"
        " must be at most 150",
    ]


def test_the_table_has_a_row_for_each_size_and_the_peers() -> None:
    rows = told(_result())[1].splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == [
        "| 100", "| 300", "| 1,000", "| Argo Workflows 4.1",
    ]  # fmt: skip


def test_the_sizes_that_were_measured_are_told() -> None:
    small = told(_result(active=[_window(20, 900.0)]))[2]
    assert "100 runs carried from start to end, 20 active ones for 60 s each, and 300" in small


def test_a_busy_machine_is_told_of_beside_its_latencies() -> None:
    busy = {**_window(300, 900.0), "coresInUse": {"others": 1.3}}
    assert any("1.3 of its 2 cores" in text for text in told(_result(active=[busy])))
    assert not any("busy" in text for text in told(_result()))
