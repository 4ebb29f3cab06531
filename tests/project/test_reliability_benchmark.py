"""What a fault costs, and how that is judged."""

from copy import deepcopy
from typing import Any

from benchmarks.reliability_goals import ASKED_FOR, goals_of, left_out, missed, own_seconds
from benchmarks.reliability_table import told

ALONE = {"fault": "nothing", "seconds": 40.0, "secondsTrained": 12.0, "secondsImposed": 0.0}
AWAY = {"fault": "server away", "seconds": 150.0, "secondsTrained": 20.0, "secondsImposed": 60.0}
COUNTS = {"pods": 1, "attempts": {"first": 1}, "userRetries": 0, "infrastructureRetries": 0}
RESULT: dict[str, Any] = {
    "clusterSeconds": 20.0,
    "imagesUnpacked": 1,
    "quickstart": {
        "whole": False,
        "seconds": 300.0,
        "secondsSinceInstall": 320.0,
        "table": {"math": {"apart": -0.01, "standardError": 0.01, "farthest": 1.9}},
    },
    "faults": [
        {**fault, **COUNTS, "stepsRepeated": 0, "costSeconds": own_seconds(fault, ALONE)}
        for fault in (ALONE, AWAY)
    ],
}


def test_a_fault_costs_what_neither_training_nor_itself_nor_a_quiet_run_takes() -> None:
    assert own_seconds(AWAY, ALONE) == (150 - 20 - 60) - (40 - 12)
    assert own_seconds(ALONE, ALONE) == 0


def test_what_is_quick_enough_and_near_enough_meets_every_goal() -> None:
    assert len(goals_of(RESULT)) == 5
    assert missed(RESULT) == []
    assert "All 5 goals that were judged are met." in told(RESULT)


def test_each_goal_that_is_missed_is_named_with_what_was_asked_for() -> None:
    slow = deepcopy(RESULT)
    slow["clusterSeconds"] = 61.0
    slow["quickstart"]["seconds"] = 481.0
    slow["quickstart"]["table"]["math"] |= {"apart": 0.03, "farthest": 3.5}
    slow["faults"][1]["costSeconds"] += 4
    assert missed(slow) == [
        "seconds to a cluster that is up: 61, asked for at most 60",
        "seconds of the shortened quickstart: 481, asked for at most 480",
        "standard errors that the table is off, math: 3, asked for at most 2",
        "standard errors that its farthest evaluation is off, math: 3.5, asked for at most 2",
        "seconds that a fault costs, server away: 46, asked for at most 45",
    ]
    missed_first = "Missed of 5 goals: seconds to a cluster that is up: 61"
    assert any(sentence.startswith(missed_first) for sentence in told(slow))


def test_where_images_are_new_the_start_of_the_cluster_is_judged_without_their_loading() -> None:
    new = deepcopy(RESULT) | {"clusterSeconds": 100.0, "imagesSeconds": 45.0, "imagesUnpacked": 3}
    assert missed(new) == []
    assert told(new)[1] == (
        "The cluster was up after 100 s. Of its 3 images 3 had layers that were not there yet: 45 s"
        " of it went into loading them."
    )
    assert missed(new | {"imagesSeconds": 39.0}) == [
        "seconds to a cluster that is up, its images loaded: 61, asked for at most 60"
    ]


def test_where_all_images_were_there_the_whole_time_to_the_cluster_is_judged() -> None:
    there = deepcopy(RESULT)
    there |= {"clusterSeconds": 61.0, "imagesSeconds": 5.0, "imagesUnpacked": 0}
    assert missed(there) == ["seconds to a cluster that is up: 61, asked for at most 60"]
    assert told(there)[1] == (
        "The cluster was up after 61 s. Its 3 images were there in every layer."
    )


def test_a_fault_without_a_quiet_run_of_as_many_pods_is_shown_and_misses_its_goal() -> None:
    alone = deepcopy(RESULT)
    del alone["faults"][1]["costSeconds"]
    assert missed(alone) == [
        "seconds that a fault costs, server away: not measured, asked for at most 45"
    ]
    assert "| server away | 1 | 150 |  | first 1 |" in told(alone)[0]


def test_a_table_without_a_standard_error_must_be_equal() -> None:
    sure = deepcopy(RESULT)
    sure["quickstart"]["table"]["math"]["standardError"] = 0.0
    assert missed(sure) == ["standard errors that the table is off, math: inf, asked for at most 2"]
    sure["quickstart"]["table"]["math"]["apart"] = 0.0
    assert missed(sure) == []


def test_the_whole_quickstart_is_judged_from_the_installation_on() -> None:
    whole = deepcopy(RESULT) | {"faults": []}
    whole["quickstart"] |= {"whole": True, "seconds": 830.0, "secondsSinceInstall": 841.0}
    assert missed(whole) == [
        "seconds from helm install to the whole quickstart's end: 841, asked for at most 840"
    ]


def test_what_was_not_measured_is_named() -> None:
    all_of_them = deepcopy(RESULT)
    all_of_them["faults"] = [{"fault": name} for name in ASKED_FOR]
    assert left_out(all_of_them) == []
    del all_of_them["faults"][3]
    assert left_out(all_of_them | {"quickstart": {}}) == [
        "node drained",
        "the quickstart",
    ]
    every = told(all_of_them | {"faults": []})[-1]
    assert every == f"Not tried of what is asked for: {', '.join(ASKED_FOR)}."
    assert left_out(deepcopy(RESULT) | {"faults": [], "quickstart": {"whole": True}}) == []
