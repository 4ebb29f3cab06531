"""Every expression of every panel and alert gives something, asked of a real Prometheus.

Played kubelets make what no quiet run has: see tests/e2e/test_quickstart.py for real ones.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.expressions import (
    ALERTS,
    Questions,
    asked_by_alerts,
    health,
    offered_by_choices,
    shown_by_panels,
    wait_until_answered,
)
from tests.monitoring.prometheus import Prometheus, promtool

CASES: list[dict[str, Any]] = yaml.load(
    (Path(__file__).parent / "alert_cases.yaml").read_text(), yaml.BaseLoader
)  # fmt: skip


@pytest.mark.slow
def test_whatever_is_shown_or_asked_for_is_there(observed: Prometheus) -> None:
    """About 50 s: an API server, an operator, two stages and a verifier start, and train, fail and
    wait until Prometheus has seen it. One test, so that it all starts once."""
    wait_until_answered(
        {
            **shown_by_panels(observed),
            **offered_by_choices(observed),
            **asked_by_alerts(observed),
            **made_up_for_tests(observed),
        },
        patience=400,
    )
    assert health(observed) == {rule["alert"]: "ok" for rule in ALERTS}
    for address, page in observed.pages().items():
        checked = promtool("check", "metrics", stdin=page)
        assert checked.returncode == 0, f"{address}: {checked.stderr}"


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
