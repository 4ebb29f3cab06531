"""What a platform engineer does to an installation while researchers train, and what of it they
notice: nothing.

Last of all, since the release is another one afterwards. Some 7 minutes on two cores.
"""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chart.rendered_chart import RELEASE
from tests.e2e.costs import Costs
from tests.e2e.installation import (
    CLAIM,
    SETTINGS,
    Installation,
    new_namespace,
    put_data,
    wait_for_operator,
)
from tests.e2e.trial import Trial

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(5400, func_only=True),
    pytest.mark.usefixtures("an_operator_that_works"),
]

STEPS = 1000
"""Of the first stage: a minute. It lasts about as long as what is done to its operator, or the wait
for the second stage would count as that one's cost."""
ENDLESS = 100_000
"""Steps that no machine makes while a test lasts."""
MANY = 20
"""Steps, more than can have been under way when they were first counted."""
ANYWHERE = "kubelet stopped for good, installed for the whole cluster"
CRD = "acereasonruns.acereason.dev"
(OLDER,) = (Path(__file__).parents[1] / "chart" / "older").glob("*.tgz")
"""The chart that people upgrade from, as it was; its images are today's."""


def test_a_run_outlives_upgrade_rollback_and_removal_of_its_operator(
    installation: Installation, costs: Costs
) -> None:
    """Its second stage is held back until all of that is done: so it is in the middle, however
    fast a machine is."""
    installation.uninstall()
    installation.install_older(OLDER)
    wait_for_operator(installation)
    trial = Trial(installation, "chart-changed", seed=14)
    trial.apply(steps={"first": STEPS}, suspended=["second"])
    trial.wait_for_step("first", 5)

    installation.upgrade({"settings": {**SETTINGS, "logLevel": "debug"}})
    wait_for_operator(installation)
    installation.rollback(1)
    wait_for_operator(installation)

    installation.uninstall()
    published = {path: path.stat().st_mtime_ns for path in artifacts(installation)}
    assert installation.kubectl("get", "crd", CRD, "-o", "name")

    installation.install()
    wait_for_operator(installation)
    trial.apply(steps={"first": STEPS})
    cost = costs.note("chart upgraded, rolled back, removed, installed", trial.complete())
    assert cost.attempts == {"first": 1, "second": 1}
    assert (cost.user_retries, cost.infrastructure_retries, cost.steps_repeated) == (0, 0, 0)
    left = {path: path.stat().st_mtime_ns for path in artifacts(installation)}
    assert published.items() <= left.items()


def test_a_stage_trains_on_without_an_operator_and_the_next_one_takes_it_up(
    installation: Installation,
) -> None:
    trial = Trial(installation, "left-alone", seed=17)
    trial.apply(steps={"first": ENDLESS}, suspended=["second"])
    trial.wait_for_step("first")

    installation.uninstall()
    left = trial.made("first")
    trial.wait("it trains on", lambda: trial.made("first") >= left + MANY)
    made = trial.made("first")
    assert not installation.operator_pods(), "nobody but the stage can have made these steps"

    installation.install()
    trial.wait("an operator follows it", lambda: trial.stage("first").get("step", 0) > made)
    assert trial.stage("first")["attempts"] == 1


def test_an_installation_for_the_whole_cluster_serves_every_namespace(
    installation: Installation,
) -> None:
    installation.upgrade({"namespaces": []})
    elsewhere = replace(installation, namespace=new_namespace(installation.cluster, "elsewhere"))
    put_data(elsewhere.claim(CLAIM))
    for there, seed in ((elsewhere, 15), (installation, 16)):
        trial = Trial(there, "anywhere", seed)
        trial.apply(steps={"first": 20, "second": 20})
        assert trial.complete().attempts == {"first": 1, "second": 1}
        there.kubectl("delete", "arr", "anywhere")
    may = ("auth", "can-i", "get", "nodes", "--as", account(installation))
    assert installation.kubectl(*may).strip() == "yes", "so that it sees that one is lost"


def test_an_installation_for_the_whole_cluster_loses_a_node(
    installation: Installation, costs: Costs
) -> None:
    """As one for some namespaces does (test_what_faults_cost.py), but it may ask for the node."""
    installation.upgrade({"namespaces": []})
    wait_for_operator(installation)
    trial = Trial(installation, "node-lost-anywhere", seed=34)
    trial.apply(grace="10s")
    trial.wait_for_step("second", 5)
    pod = trial.pod("second")
    node, struck = pod["spec"]["nodeName"], time.time()
    with installation.without_node(node):
        imposed = trial.grace_ends(pod) - struck
        cost = costs.note(ANYWHERE, trial.complete(imposed))
        assert trial.pod("second")["spec"]["nodeName"] != node
    assert cost.attempts == {"first": 1, "second": 2}
    assert (cost.user_retries, cost.infrastructure_retries) == (0, 1)


def artifacts(installation: Installation) -> list[Path]:
    """Manifests of what was published on the runs' volume."""
    found = sorted(installation.store.glob("artifacts/*/manifest.json"))
    assert found, "every test before this one has published something"
    return found


def account(installation: Installation) -> str:
    """The operator's, as a user."""
    return f"system:serviceaccount:{installation.system}:{RELEASE}-acereason-operator"
