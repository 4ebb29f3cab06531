"""What a fault costs, and how that is judged."""

from copy import deepcopy
from typing import Any

from benchmarks.reliability_goals import goals_of, missed, own_seconds
from benchmarks.reliability_table import told

ALONE = {"fault": "nothing", "seconds": 40.0, "secondsTrained": 12.0, "secondsImposed": 0.0}
AWAY = {"fault": "server away", "seconds": 150.0, "secondsTrained": 20.0, "secondsImposed": 60.0}
COUNTS = {"attempts": {"first": 1}, "userRetries": 0, "infrastructureRetries": 0}
RESULT: dict[str, Any] = {
    "clusterSeconds": 20.0,
    "quickstart": {
        "whole": False,
        "seconds": 300.0,
        "secondsSinceInstall": 320.0,
        "table": {"math": {"apart": -0.01, "standardError": 0.01}},
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
    assert len(goals_of(RESULT)) == 4
    assert missed(RESULT) == []
    assert told(RESULT)[-1] == "All 4 goals that `make e2e` judges are met."


def test_each_goal_that_is_missed_is_named_with_what_was_asked_for() -> None:
    slow = deepcopy(RESULT)
    slow["clusterSeconds"] = 61.0
    slow["quickstart"]["seconds"] = 481.0
    slow["quickstart"]["table"]["math"]["apart"] = 0.03
    slow["faults"][1]["costSeconds"] += 4
    assert missed(slow) == [
        "seconds to a cluster that is up: 61, asked for at most 60",
        "seconds of the shortened quickstart: 481, asked for at most 480",
        "standard errors that the table is off, math: 3, asked for at most 2",
        "seconds that a fault costs, server away: 46, asked for at most 45",
    ]
    assert told(slow)[-1].startswith("Missed of 4 goals: seconds to a cluster that is up: 61")


def test_the_whole_quickstart_is_judged_from_the_installation_on() -> None:
    whole = deepcopy(RESULT) | {"faults": []}
    whole["quickstart"] |= {"whole": True, "seconds": 830.0, "secondsSinceInstall": 841.0}
    assert missed(whole) == [
        "seconds from helm install to the whole quickstart's end: 841, asked for at most 840"
    ]
