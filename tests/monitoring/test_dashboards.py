"""Dashboards as files: what Grafana and a reader of a panel need is there."""

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "charts/acereason-operator/files/dashboards"
BOARDS: dict[str, dict[str, Any]] = {
    file.stem: json.loads(file.read_text()) for file in sorted(FOLDER.glob("*.json"))
}
PANELS = [
    pytest.param(panel, id=f"{name}: {panel['title']}")
    for name, board in BOARDS.items()
    for panel in board["panels"]
    if panel["type"] != "row"
]
each = pytest.mark.parametrize("name", BOARDS)
WATCHED = {
    "run_stage_accuracy",
    "stage_reward",
    "stage_entropy",
    "stage_entropy_target",
    "stage_response_tokens",
    "stage_truncated_share",
    "stage_tokens_per_second",
    "stage_generated_tokens_per_second",
}
"""What a researcher looks for, without its prefix."""


def test_there_is_one_for_each_reader() -> None:
    assert {board["title"] for board in BOARDS.values()} == {
        "AceReason / Runs",
        "AceReason / Operator",
    }


def test_a_researcher_finds_what_is_looked_for() -> None:
    asked = [t["expr"] for p in BOARDS["runs"]["panels"] for t in p.get("targets", ())]
    shown = {name for expr in asked for name in re.findall(r"acereason_(\w+)", expr)}
    assert shown >= WATCHED
    assert any("_seconds" in expr and "generate" in expr for expr in asked), "phases of a step"


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows_in_which_unit(panel: dict[str, Any]) -> None:
    assert len(panel["description"]) > 20
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    for asked in (panel, *panel["targets"]):
        assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@each
def test_panels_have_names_and_numbers_of_their_own(name: str) -> None:
    panels = BOARDS[name]["panels"]
    for key in ("id", "title"):
        values = [panel[key] for panel in panels]
        assert len(set(values)) == len(values)


@each
def test_panels_fill_their_rows_and_do_not_overlap(name: str) -> None:
    cells = [
        (x, y)
        for panel in BOARDS[name]["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) == 23
    heights = sorted({y for _, y in cells})
    assert all(b == a + 1 for a, b in pairwise(heights)), "no empty line"
    assert len(cells) == 24 * len(heights), "no hole"


@each
def test_each_leads_to_the_other_with_its_time(name: str) -> None:
    (link,) = BOARDS[name]["links"]
    (other,) = (board for key, board in BOARDS.items() if key != name)
    assert link["url"] == f"/d/{other['uid']}"
    assert link["keepTime"]
    assert link["includeVars"]


@each
def test_every_variable_that_is_used_can_be_chosen(name: str) -> None:
    board = BOARDS[name]
    chosen = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(board["panels"])))
    assert used == chosen


def test_runbooks_name_panels_that_there_are() -> None:
    page = (ROOT / "docs/runbooks.md").read_text(encoding="utf-8")
    titles = {panel["title"] for board in BOARDS.values() for panel in board["panels"]}
    titles |= {title for board in BOARDS.values() for title in board["title"].split(" / ")}
    titles |= {board["title"] for board in BOARDS.values()}
    named = {" ".join(t.split()) for t in re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", page)}
    assert len(named) > 10
    assert named <= titles
