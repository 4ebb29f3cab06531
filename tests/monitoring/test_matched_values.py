"""Alerts and panels ask for values of labels that there are: a misspelt one would find nothing, and
say that all is well.
"""

import re
from collections.abc import Iterator

import pytest
from acereason_operator.runtime.metrics import STATES, Metrics
from acereason_operator.runtime.run_series import series_of
from acereason_trainer.verifier.meters import Meters
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.monitoring.expressions import ALERTS, PANELS

EXPRESSIONS = {**{rule["alert"]: rule["expr"] for rule in ALERTS}, **PANELS}
TRIED = {
    "spec": {"stages": [{"name": "s", "sft": {}}]},
    "status": {"state": "Running", "stages": [{"name": "s", "state": "Running", "attempts": 1}]},
}
"""A run, of which every budget is told."""

Matched = tuple[str, str]
"""Name of a series and of one of its labels."""


def matchers(expr: str) -> Iterator[tuple[Matched, str, str]]:
    """What is matched, by which operator, against what; a board's variables left out."""
    for name, inside in re.findall(r"\b(acereason_\w+)\{([^}]*)\}", expr):
        for label, by, value in re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', inside):
            if value != ".*":
                yield (name, label), by, value


def exported() -> dict[Matched, set[str]]:
    """Values that the exporters know before anything happened, and those of runs."""
    verifier = Meters()
    for kind in ("math", "code"):
        verifier.of_kind(kind)
    pages = (generate_latest(Metrics().registry), verifier.page())
    found: dict[Matched, set[str]] = {
        ("acereason_run_state", "state"): {*STATES},
        ("acereason_runs", "state"): {*STATES},
        ("acereason_run_stage_charges", "budget"): {
            labels[-1]
            for family, labels, _ in series_of(TRIED)
            if family == "acereason_run_stage_charges"
        },
    }
    for page in pages:
        for family in text_string_to_metric_families(page.decode()):
            for sample in family.samples:
                for label, value in sample.labels.items():
                    found.setdefault((sample.name, label), set()).add(value)
    return found


@pytest.fixture(scope="module")
def known() -> dict[Matched, set[str]]:
    return exported()


WHOLE = [
    pytest.param(matched, value, id=f"{where}: {matched[1]}{by}{value}")
    for where, expr in EXPRESSIONS.items()
    for matched, by, value in matchers(expr)
    if by in ("=", "!=")
]


@pytest.mark.parametrize(("matched", "value"), WHOLE)
def test_a_value_that_is_asked_for_is_one_that_is_exported(
    matched: Matched, value: str, known: dict[Matched, set[str]]
) -> None:
    assert value in known[matched]


def test_each_state_that_a_panel_leaves_out_is_one(known: dict[Matched, set[str]]) -> None:
    left_out = {
        state
        for expr in EXPRESSIONS.values()
        for (_, label), by, value in matchers(expr)
        if label == "state" and by in ("=~", "!~")
        for state in value.split("|")
    }
    assert left_out
    assert left_out <= known["acereason_runs", "state"]
