"""What goes wrong on clusters, done to a run of two stages on a real one.

Each run ends Complete with the attempts that it should have taken; what each fault cost is noted
(docs/reliability.md). How long it may cost is a goal that `make e2e` judges afterwards, not a test:
a busy machine breaks nothing here.

Together some 12 minutes on two cores.
"""

import errno
import json
import os
import time
from pathlib import Path

import pytest

from tests.cluster.cluster import SECONDS_TOLERATED, SECONDS_UNTIL_LOST
from tests.e2e.costs import Costs
from tests.e2e.installation import Installation
from tests.e2e.trial import PATIENCE, Trial
from tests.monitoring.prometheus import Prometheus
from tests.waiting import wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600, func_only=True),
    pytest.mark.usefixtures("an_operator_that_works"),
]

LATE_ENOUGH = 5
"""Steps that a stage has saved when something is done to it."""
AWAY = 60.0
"""Seconds that the API server is away."""


def a_run_in_training(installation: Installation, name: str, seed: int) -> Trial:
    """A run whose first stage has saved some steps. Its seed is its own: nothing is reused."""
    trial = Trial(installation, name, seed)
    trial.apply()
    trial.wait_for_step("first", LATE_ENOUGH)
    return trial


def test_nothing_happens(installation: Installation, costs: Costs) -> None:
    trial = Trial(installation, "undisturbed", seed=1)
    trial.apply()
    cost = costs.note("nothing", trial.complete())
    assert cost.attempts == {"first": 1, "second": 1}
    assert (cost.user_retries, cost.infrastructure_retries, cost.steps_repeated) == (0, 0, 0)


def test_a_trainer_pod_is_killed(
    installation: Installation, observed: Prometheus, costs: Costs
) -> None:
    trial = a_run_in_training(installation, "pod-killed", seed=2)
    trial.kill(trial.pod("first"))
    cost = costs.note("trainer pod killed", trial.complete())
    assert cost.attempts == {"first": 2, "second": 1}
    assert cost.user_retries == 0
    observed.wait_for_data("acereason_attempt_failures_total > 0")


def test_one_pod_of_two_is_killed(installation: Installation, costs: Costs) -> None:
    """Two ranks, one on each node, that train one model with ZeRO-3."""
    trial = Trial(installation, "peer-killed", seed=12)
    trial.apply(nodes=2)
    trial.wait_for_step("first", LATE_ENOUGH)
    first, second = trial.pods("first")
    trial.kill(second)
    assert first["spec"]["nodeName"] != second["spec"]["nodeName"]
    cost = costs.note("one pod of two killed", trial.complete())
    assert cost.attempts == {"first": 2, "second": 1}
    assert cost.user_retries == 0, "its peer failed only because it was gone"


def test_a_node_is_drained(installation: Installation, costs: Costs) -> None:
    trial = a_run_in_training(installation, "node-drained", seed=3)
    node = trial.pod("first")["spec"]["nodeName"]
    words = ("--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=600s")
    try:
        installation.cluster.kubectl("drain", node, *words)
        cost = costs.note("node drained", trial.complete())
        assert trial.pod("second")["spec"]["nodeName"] != node
    finally:
        installation.cluster.kubectl("uncordon", node)
    assert cost.attempts == {"first": 2, "second": 1}
    assert cost.user_retries == 0
    assert cost.steps_repeated == 0, "it was told to stop, and saved the step that it was at"


def test_a_kubelet_stops_for_good(installation: Installation, costs: Costs) -> None:
    """And with it all that ran on its node, so that the next attempt has a state to go on from."""
    grace = 10
    trial = Trial(installation, "node-lost", seed=4)
    trial.apply(grace=f"{grace}s")
    trial.wait_for_step("first", LATE_ENOUGH)
    node = trial.pod("first")["spec"]["nodeName"]
    with installation.without_node(node):
        imposed = SECONDS_UNTIL_LOST + SECONDS_TOLERATED + grace
        cost = costs.note("kubelet stopped for good", trial.complete(imposed))
        assert trial.pod("second")["spec"]["nodeName"] != node
    assert cost.attempts == {"first": 2, "second": 1}
    assert cost.user_retries == 0


def test_the_operator_is_killed(installation: Installation, costs: Costs) -> None:
    trial = a_run_in_training(installation, "operator-killed", seed=5)
    holder, before = installation.lease_holder(), installation.restarts()
    leader = installation.leader()
    installation.kill(leader)
    wait_for(
        lambda: installation.lease_holder() != holder,
        "another process to lead",
        installation.told,
        PATIENCE,
        every=0.5,
    )
    cost = costs.note("operator killed with SIGKILL", trial.complete())
    assert cost.attempts == {"first": 1, "second": 1}
    assert cost.steps_repeated == 0
    wait_for(
        lambda: installation.restarts()[leader] > before[leader],
        "its pod to be started again",
        installation.told,
        PATIENCE,
        every=1,
    )


def test_the_api_server_is_away_for_a_minute(installation: Installation, costs: Costs) -> None:
    trial = Trial(installation, "server-away", seed=6)
    trial.apply(steps={"first": 400})
    trial.wait_for_step("first", LATE_ENOUGH)
    before = installation.restarts()
    gone, made, trained = time.monotonic(), trial.made("first"), trial.seconds_trained()
    with installation.without_api_server():
        wait_for(lambda: trial.made("first") > made, "the stage to train on", str, PATIENCE)
        time.sleep(max(0.0, gone + AWAY - time.monotonic()))  # the minute is what is tested
    imposed = (time.monotonic() - gone) - (trial.seconds_trained() - trained)
    cost = costs.note("API server away for a minute", trial.complete(imposed))
    assert cost.attempts == {"first": 1, "second": 1}
    assert cost.steps_repeated == 0
    assert installation.restarts() == before, "an outage restarts nobody"


def test_a_run_is_suspended_and_resumed(installation: Installation, costs: Costs) -> None:
    trial = a_run_in_training(installation, "suspended", seed=7)
    trial.patch({"suspend": True})
    pods = ("pods", "-l", f"acereason.dev/run={trial.name},acereason.dev/phase=train")
    trial.wait("no pod is left", lambda: not installation.get(*pods)["items"])
    trial.wait("Suspended", lambda: trial.status()["state"] == "Suspended")
    trial.patch({"suspend": False})
    cost = costs.note("suspended and resumed", trial.complete())
    assert cost.attempts == {"first": 2, "second": 1}
    assert (cost.user_retries, cost.infrastructure_retries) == (0, 0)
    assert cost.steps_repeated == 0, "it was told to stop, and saved the step that it was at"


def test_the_volume_is_full(installation: Installation, costs: Costs) -> None:
    """It is filled while the second stage trains, and has room again once the run says so."""
    folder = installation.small_claim("small", mebibytes=128)
    trial = Trial(installation, "volume-full", seed=8, claim="small")
    trial.apply(steps={"second": 200})
    trial.wait_for_step("second", LATE_ENOUGH)
    finished = trial.stage("first")["artifact"]
    filler = folder / "filler"

    def is_full_and_said_so() -> bool:
        _fill_up(filler)  # again each time: older states that go make room
        return "no room left" in json.dumps(trial.status())

    trial.wait("its status says why", is_full_and_said_so)
    filler.unlink()
    cost = costs.note("volume full, then room again", trial.complete())
    assert cost.attempts["first"] == 1
    assert trial.stage("first")["artifact"] == finished
    assert cost.user_retries == 0


def test_a_published_artifact_is_corrupted(
    installation: Installation, observed: Prometheus, costs: Costs
) -> None:
    trial = Trial(installation, "artifact-corrupt", seed=9)
    trial.apply(stages=1)
    trial.complete()
    artifact = trial.stage("first")["artifact"]
    _flip_a_byte(installation.store / artifact["uri"] / "model.safetensors")
    trial.apply()
    trial.wait("the second stage is there", lambda: bool(trial.stage("second")))
    cost = costs.note("artifact corrupted between stages", trial.complete())
    assert cost.attempts == {"first": 2, "second": 3}, "read twice, made again, read once more"
    assert trial.stage("first")["artifact"]["digest"] == artifact["digest"], "bit for bit"
    assert (cost.user_retries, cost.infrastructure_retries) == (0, 1)
    observed.wait_for_data("acereason_corrupt_artifacts_total > 0")


def _fill_up(filler: Path) -> None:
    """Make a file grow until its volume has no room for another KiB."""
    for size in (1 << 20, 1 << 10):
        try:
            with filler.open("ab", buffering=0) as file:
                while file.write(bytes(size)) == size:
                    pass
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def _flip_a_byte(file: Path) -> None:
    with file.open("r+b") as weights:
        weights.seek(-1, os.SEEK_END)
        last = weights.read(1)[0]
        weights.seek(-1, os.SEEK_END)
        weights.write(bytes([last ^ 1]))
