"""What the dashboards and alerts ask of a Prometheus, as questions that have to be answered."""

import json
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import yaml

from tests.monitoring.prometheus import Prometheus
from tests.waiting import PATIENCE, wait_for

CHART = Path(__file__).parents[2] / "charts/acereason-operator"
BOARDS: dict[str, Any] = {
    file.stem: json.loads(file.read_text())
    for file in sorted(CHART.glob("files/dashboards/*.json"))
}
ALERTS: list[Any] = [
    rule
    for file in sorted(CHART.glob("files/alerts/*.yaml"))
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
]
IN_A_TEST = {"$__rate_interval": "15s", "$__range": "5m"}
"""For a scrape every second, or every three; any other variable is All."""

Questions = dict[str, Callable[[], bool]]
"""What has to hold, by its name."""


def wait_until_answered(questions: Questions, patience: float = PATIENCE) -> None:
    """Until each was answered once; fails with the names of those that were not."""
    left = dict(questions)

    def answered() -> bool:
        for what in [what for what, holds in left.items() if holds()]:
            del left[what]
        return not left

    def told() -> str:
        return "\n".join(["there is none for", *left])

    wait_for(answered, "data", told, patience, every=1)


def as_sent(expr: str) -> str:
    """An expression as Grafana sends it."""
    for name, value in IN_A_TEST.items():
        expr = expr.replace(name, value)
    return re.sub(r"\$\w+", ".*", expr)


PANELS = {
    f"{name}: {panel['title']} {target['refId']}": as_sent(target["expr"])
    for name, board in BOARDS.items()
    for panel in board["panels"]
    for target in panel.get("targets", ())
}
"""Every expression of every panel, by board, title and letter."""


def shown_by_panels(observed: Prometheus, besides: Collection[str] = ()) -> Questions:
    """Each query has a number that is one.

    besides: panels that are not asked.
    """
    return {
        f"{panel}: {expr}": lambda expr=expr: bool(observed.numbers(expr))
        for panel, expr in PANELS.items()
        if panel not in besides
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


def asked_by_alerts(observed: Prometheus, besides: Collection[str] = ()) -> Questions:
    """Each series that an alert names is there, and each alert was evaluated. (What an alert gives
    is nothing, most of the time.)

    besides: series that are not there.
    """
    names = {
        (rule["alert"], name)
        for rule in ALERTS
        for name in re.findall(r"\b(?:acereason|process)_\w+", rule["expr"])
    }

    def evaluated() -> bool:
        return "unknown" not in health(observed).values()

    return {
        "evaluation of all rules": evaluated,
        **{
            f"{alert}: {name}": lambda name=name: bool(observed.series(name))
            for alert, name in sorted(names)
            if name not in besides
        },
    }


def health(observed: Prometheus) -> dict[str, str]:
    """Of each rule: ok, err, or unknown before it was evaluated."""
    groups = observed.get("rules")["groups"]
    return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
