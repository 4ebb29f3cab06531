"""Every alert fires when it should and is silent when it should, and leads to a runbook.

What is tested are the rules as the chart renders them: a PrometheusRule's spec is a rule file.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.rendered_chart import one, rendered
from tests.monitoring.prometheus import promtool

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ALERTS = sorted((ROOT / "charts/acereason-operator/files/alerts").glob("*.yaml"))
# Everything is text there: `0x9`, ten zeros of promtool, is a nine to YAML.
CASES: list[dict[str, Any]] = yaml.load((HERE / "alert_cases.yaml").read_text(), yaml.BaseLoader)
RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for file in ALERTS
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
}
ASKED_FOR = {
    "AceReasonRunStuck",
    "AceReasonAttemptsBurning",
    "AceReasonCorruptArtifact",
    "AceReasonEntropyOutOfBand",
    "AceReasonRewardCollapse",
    "AceReasonVerifierInfraErrors",
    "AceReasonQueueNotDraining",
    "AceReasonWatchSilent",
    "AceReasonNoLeader",
}


@pytest.fixture(scope="session")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rule file that the chart makes."""
    return rule_file(tmp_path_factory.mktemp("rules"), verifier=False)


@pytest.fixture(scope="session")
def rules_with_verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one that it makes where it installs a verifier."""
    return rule_file(tmp_path_factory.mktemp("rules"), verifier=True)


def rule_file(folder: Path, *, verifier: bool) -> Path:
    values = {"monitoring": {"create": "always"}, "verifier": {"enabled": verifier}}
    file = folder / "rules.yaml"
    file.write_text(yaml.safe_dump(one(rendered(values), "PrometheusRule")["spec"]))
    return file


@pytest.mark.parametrize("file", ALERTS, ids=lambda file: file.stem)
def test_promtool_has_nothing_to_say_of_a_rule_file(file: Path) -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", file)
    assert done.returncode == 0, done.stderr


def test_promtool_has_nothing_to_say_of_what_the_chart_makes(
    rules: Path, rules_with_verifier: Path
) -> None:
    for file in (rules, rules_with_verifier):
        done = promtool("check", "rules", "--lint=all", "--lint-fatal", file)
        assert done.returncode == 0, done.stderr
        assert f"{len(RULES)} rules found" in done.stdout


def test_what_has_to_be_watched_is() -> None:
    assert RULES.keys() >= ASKED_FOR


@pytest.mark.parametrize("alert", RULES)
def test_an_alert_is_seen_firing_and_silent(alert: str) -> None:
    seen = {bool(case.get("fires")) for case in CASES if case["alert"] == alert}
    assert seen == {True, False}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['alert']}: {case['why']}")
def test_an_alert_fires_for_what_it_is_meant_for_and_for_nothing_else(
    case: dict[str, Any], rules: Path, rules_with_verifier: Path, tmp_path: Path
) -> None:
    file_of_rules = rules_with_verifier if "verifier" in case else rules
    rule = RULES[case["alert"]]
    annotations = {k: v for k, v in rule["annotations"].items() if k != "summary"}
    test = {
        "interval": "30s",
        "input_series": [{"series": s, "values": v} for s, v in case["series"].items()],
        "alert_rule_test": [
            {
                "eval_time": case["at"],
                "alertname": case["alert"],
                "exp_alerts": [
                    {
                        "exp_labels": {**fired["labels"], **rule["labels"]},
                        "exp_annotations": {**annotations, "summary": fired["summary"]},
                    }
                    for fired in case.get("fires", ())
                ],
            }
        ],
    }
    file = tmp_path / "test.yaml"
    told = {"rule_files": [str(file_of_rules)], "evaluation_interval": "30s", "tests": [test]}
    file.write_text(yaml.safe_dump(told))
    done = promtool("test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", [c for c in CASES if not c.get("fires")], ids=lambda c: c["why"])
def test_a_silent_alert_has_something_to_look_at(case: dict[str, Any]) -> None:
    told = {series.partition("{")[0] for series in case["series"]}
    assert told & set(re.findall(r"\b[a-z]+_[a-z_]+\b", RULES[case["alert"]]["expr"]))


def test_what_wakes_a_person_does_not_mend_itself() -> None:
    """A drain costs several runs an attempt and mends itself."""
    critical = {alert for alert, rule in RULES.items() if rule["labels"]["severity"] == "critical"}
    assert critical == {
        "AceReasonNoLeader",
        "AceReasonOperatorGone",
        "AceReasonCorruptArtifact",
        "AceReasonVerifierGone",
    }


@pytest.mark.parametrize("alert", RULES)
def test_an_alert_says_what_it_is_about_and_what_to_do(alert: str) -> None:
    rule = RULES[alert]
    said = rule["annotations"]
    assert set(said) == {"summary", "description", "runbook_url"}
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert re.search(r"\$labels\.(run|pod|job)\b", said["summary"])
    assert "{{" not in said["description"], "one text for all, so that pages can be grouped"


def test_each_alert_has_one_runbook_and_each_runbook_its_alert() -> None:
    page = (ROOT / "docs/runbooks.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE))
    assert sections.keys() == RULES.keys()
    for alert, text in sections.items():
        link = RULES[alert]["annotations"]["runbook_url"]
        assert link == f"docs/runbooks.md#{alert.lower()}"
        for part in ("**What it means.**", "**How to look.**", "**What to do.**"):
            assert part in text, f"{alert} lacks {part}"
