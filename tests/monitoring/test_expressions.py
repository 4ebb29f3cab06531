"""Every expression of every panel and alert gives something, asked of a real Prometheus."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.prometheus import Prometheus
from tests.waiting import wait_for

HERE = Path(__file__).parent
CHART = HERE.parents[1] / "charts/acereason-operator"
BOARDS = {file.stem: json.loads(file.read_text()) for file in CHART.glob("files/dashboards/*.json")}
ALERTS = [
    rule
    for file in CHART.glob("files/alerts/*.yaml")
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
]
CASES: list[dict[str, Any]] = yaml.load(
    (HERE / "alert_cases.yaml").read_text(), yaml.BaseLoader
)  # fmt: skip
IN_A_TEST = {"$__rate_interval": "15s", "$__range": "5m"}
"""For a scrape every second; any other variable is All."""

Questions = dict[str, Callable[[], bool]]
"""What has to hold, by its name."""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_whatever_is_shown_or_asked_for_is_there(observed: Prometheus) -> None:
    """About 50 s: an API server, an operator, two stages and a verifier start, and train, fail and
    wait until Prometheus has seen it. One test, so that it all starts once."""
    left = {
        **shown_by_panels(observed),
        **offered_by_choices(observed),
        **asked_by_alerts(observed),
        **made_up_for_tests(observed),
    }

    def answered() -> bool:
        for where in [where for where, holds in left.items() if holds()]:
            del left[where]
        return not left

    wait_for(answered, "data", lambda: "there is none for\n" + "\n".join(left))
    assert health(observed) == {rule["alert"]: "ok" for rule in ALERTS}


def shown_by_panels(observed: Prometheus) -> Questions:
    """Each query has a number that is one."""
    return {
        f"{name}: {panel['title']} {target['refId']}: {expr}": lambda expr=expr: bool(
            observed.numbers(expr)
        )
        for name, board in BOARDS.items()
        for panel in board["panels"]
        for target in panel.get("targets", ())
        for expr in [as_sent(target["expr"])]
    }


def offered_by_choices(observed: Prometheus) -> Questions:
    """Each variable has a value."""

    def values(query: str) -> bool:
        found = re.fullmatch(r"label_values\((.*), (\w+)\)", query)
        assert found is not None, query
        return bool(observed.get(f"label/{found[2]}/values", **{"match[]": found[1]}))

    return {
        f"{name}: {variable['name']}": lambda query=query: values(query)
        for name, board in BOARDS.items()
        for variable in board["templating"]["list"]
        if variable["type"] == "query"
        for query in [as_sent(variable["query"]["query"])]
    }


def asked_by_alerts(observed: Prometheus) -> Questions:
    """Each series that an alert names is there, and each alert was evaluated. (What an alert gives
    is nothing, most of the time.)"""
    names = {
        (rule["alert"], name)
        for rule in ALERTS
        for name in re.findall(r"\b(?:acereason|process)_\w+", rule["expr"])
    }

    def evaluated() -> bool:
        return "unknown" not in health(observed).values()

    return {
        "evaluation of all rules": evaluated,
        **{f"{a}: {n}": lambda n=n: bool(observed.series(n)) for a, n in names},
    }


def made_up_for_tests(observed: Prometheus) -> Questions:
    """A series that an alert is tested with has no label that the real one lacks: or else the test
    would prove nothing."""
    return {
        f"test of {case['alert']}: {series}": lambda n=name, told=told: any(
            told <= labels.keys() for labels in observed.series(n)
        )
        for case in CASES
        for series in case["series"]
        for name, _, rest in [series.partition("{")]
        for told in [set(re.findall(r"(\w+)=", rest))]
    }


def health(observed: Prometheus) -> dict[str, str]:
    """Of each rule: ok, err, or unknown before it was evaluated."""
    groups = observed.get("rules")["groups"]
    return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}


def as_sent(expr: str) -> str:
    """An expression as Grafana sends it."""
    for name, value in IN_A_TEST.items():
        expr = expr.replace(name, value)
    return re.sub(r"\$\w+", ".*", expr)
