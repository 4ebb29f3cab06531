"""What goes wrong on clusters, done to a run of two stages on a real one.

Each run ends Complete with the attempts that it should have taken, and then every byte that was
ever published is hashed. What each fault cost is noted (docs/reliability.md). How long it may cost
is a goal that `make e2e` judges afterwards, not a test: a busy machine breaks nothing here.

Together some 18 minutes on two cores.
"""

import errno
import json
import os
import signal
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.reliability_goals import QUIET
from tests.e2e.costs import Costs
from tests.e2e.installation import CLAIM, Installation
from tests.e2e.trial import PATIENCE, Trial
from tests.monitoring.prometheus import Prometheus
from tests.waiting import wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600, func_only=True),
    pytest.mark.usefixtures("an_operator_that_works"),
]

STEPS_OF_TWO_PODS = {"first": 20, "second": 60}
"""Of each stage: over two pods, a step takes five times as long."""
LATE_ENOUGH = 5
"""Steps that a stage has saved when something is done to it."""
AWAY = 60.0
"""Seconds that the API server is away."""
TWICE_THE_STEPS = {"second": 400}
"""Of a stage that must train on while something lasts."""


def a_run_in_training(
    installation: Installation,
    name: str,
    seed: int,
    *,
    steps: Mapping[str, int] | None = None,
    nodes: int = 1,
    grace: str | None = None,
    claim: str = CLAIM,
) -> Trial:
    """A run whose first stage is finished and whose second has saved some steps. Its seed is its
    own: nothing is reused.

    steps, grace: as of Trial.apply.
    """
    trial = Trial(installation, name, seed, claim, nodes)
    trial.apply(steps=steps, grace=grace)
    trial.wait_for_step("second", LATE_ENOUGH)
    return trial


@pytest.mark.parametrize(("nodes", "steps"), [(1, None), (2, STEPS_OF_TWO_PODS)])
def test_nothing_happens(
    installation: Installation, costs: Costs, nodes: int, steps: Mapping[str, int] | None
) -> None:
    trial = Trial(installation, f"undisturbed-{nodes}", seed=20 + nodes, nodes=nodes)
    trial.apply(steps=steps)
    cost = costs.note(QUIET, trial.complete())
    assert cost.attempts == {"first": 1, "second": 1}
    assert (cost.user_retries, cost.infrastructure_retries, cost.steps_repeated) == (0, 0, 0)


def test_a_trainer_pod_is_killed(
    installation: Installation, observed: Prometheus, costs: Costs
) -> None:
    trial = a_run_in_training(installation, "pod-killed", seed=23)
    trial.kill(trial.pod("second"))
    cost = costs.note("trainer pod killed", trial.complete())
    assert cost.attempts == {"first": 1, "second": 2}
    assert (cost.user_retries, cost.infrastructure_retries) == (0, 1)
    assert_people_are_told(trial)
    observed.wait_for_data("acereason_attempt_failures_total > 0")


def test_one_pod_of_two_is_killed(installation: Installation, costs: Costs) -> None:
    """Two ranks, one on each node, that train one model with ZeRO-3."""
    trial = a_run_in_training(
        installation, "peer-killed", seed=24, steps=STEPS_OF_TWO_PODS, nodes=2
    )
    first, second = trial.pods("second")
    trial.kill(second)
    assert first["spec"]["nodeName"] != second["spec"]["nodeName"]
    cost = costs.note("one pod of two killed", trial.complete())
    assert cost.attempts == {"first": 1, "second": 2}
    retries = (cost.user_retries, cost.infrastructure_retries)
    assert retries == (0, 1), "its peer failed only because it was gone"


def test_one_rank_of_two_is_killed_in_a_pod_that_lives(
    installation: Installation, costs: Costs
) -> None:
    """SIGKILL to the program that trains: its launcher goes on, and says what happened."""
    trial = a_run_in_training(
        installation, "rank-killed", seed=25, steps=STEPS_OF_TWO_PODS, nodes=2
    )
    ranks = trial.ranks(trial.pods("second")[1])
    assert ranks
    for rank in ranks:
        os.kill(rank, signal.SIGKILL)
    cost = costs.note("one rank of two killed with SIGKILL", trial.complete())
    assert cost.attempts == {"first": 1, "second": 2}
    retries = (cost.user_retries, cost.infrastructure_retries)
    assert retries == (0, 1), "it was not for memory, so it was nothing of the user's"
    record = trial.work("second") / "1" / "result-1.json"
    assert "was killed from outside (SIGKILL)" in json.loads(record.read_text())["message"]


def test_a_node_is_drained(installation: Installation, costs: Costs) -> None:
    trial = a_run_in_training(installation, "node-drained", seed=26)
    pod = trial.pod("second")
    node = pod["spec"]["nodeName"]
    words = ("--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=600s")
    try:
        with ThreadPoolExecutor() as beside:
            with trial.standing_still(pod):
                drained = beside.submit(installation.cluster.kubectl, "drain", node, *words)
                trial.wait_until_told_to_stop(pod)
            drained.result()
        cost = costs.note("node drained", trial.complete())
        assert trial.pod("second")["spec"]["nodeName"] != node
    finally:
        installation.cluster.kubectl("uncordon", node)
    assert cost.attempts == {"first": 1, "second": 2}
    assert (cost.user_retries, cost.infrastructure_retries) == (0, 1)
    assert cost.steps_repeated == 0, "it was told to stop, and saved the step that it was at"
    assert_people_are_told(trial)


def test_a_kubelet_stops_for_good(installation: Installation, costs: Costs) -> None:
    """And with it all that ran on its node, so that the next attempt has a state to go on from."""
    trial = a_run_in_training(installation, "node-lost", seed=27, grace="10s")
    pod = trial.pod("second")
    node, struck = pod["spec"]["nodeName"], time.time()
    with installation.without_node(node):
        imposed = trial.grace_ends(pod) - struck
        cost = costs.note("kubelet stopped for good", trial.complete(imposed))
        assert trial.pod("second")["spec"]["nodeName"] != node
    assert cost.attempts == {"first": 1, "second": 2}
    assert (cost.user_retries, cost.infrastructure_retries) == (0, 1)
    assert_people_are_told(trial)


def test_a_container_trains_on_without_its_kubelet(
    installation: Installation, costs: Costs
) -> None:
    """Nobody can tell it to end, so two attempts train at once; the first one to publish has it."""
    trial = a_run_in_training(
        installation, "kubelet-lost", seed=28, steps=TWICE_THE_STEPS, grace="10s"
    )
    pod = trial.pod("second")
    with ExitStack() as lost:
        with trial.standing_still(pod):
            struck, trained = time.time(), trial.seconds_trained()
            lost.enter_context(installation.without_kubelet(pod["spec"]["nodeName"]))
            made = trial.made("second")
        trial.wait("it trains on", lambda: trial.made("second") > made)
        assert trial.stage("second")["attempts"] == 1, "nobody but the container can have done it"
        with trial.standing_still(pod):
            made, trained = trial.made("second"), trial.seconds_trained() - trained
            imposed = trial.grace_ends(pod) - struck - trained
            trial.wait("another attempt is further", lambda: trial.made("second") > made)
        cost = costs.note("kubelet stopped, its container trains on", trial.complete(imposed))
        published = trial.stage("second")["artifact"]
        wait_for(lambda: not trial.ranks(pod), "the container to end by itself", str, PATIENCE)
        trial.verify()
    assert trial.stage("second")["artifact"] == published
    taken = cost.attempts["second"] - 1
    assert cost.attempts["first"] == 1 and taken >= 1
    retries = (cost.user_retries, cost.infrastructure_retries)
    assert retries == (0, taken), "a state that it replaces under the next attempt costs one more"


def test_the_operator_is_killed(installation: Installation, costs: Costs) -> None:
    trial = a_run_in_training(installation, "operator-killed", seed=29)
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
    assert (cost.user_retries, cost.infrastructure_retries, cost.steps_repeated) == (0, 0, 0)
    wait_for(
        lambda: installation.restarts()[leader] > before[leader],
        "its pod to be started again",
        installation.told,
        PATIENCE,
        every=1,
    )


def test_the_api_server_is_away_for_a_minute(installation: Installation, costs: Costs) -> None:
    trial = a_run_in_training(installation, "server-away", seed=30, steps=TWICE_THE_STEPS)
    before = installation.restarts()
    gone, made, trained = time.monotonic(), trial.made("second"), trial.seconds_trained()
    with installation.without_api_server():
        wait_for(lambda: trial.made("second") > made, "the stage to train on", str, PATIENCE)
        time.sleep(max(0.0, gone + AWAY - time.monotonic()))  # the minute is what is tested
    imposed = (time.monotonic() - gone) - (trial.seconds_trained() - trained)
    cost = costs.note("API server away for a minute", trial.complete(imposed))
    assert cost.attempts == {"first": 1, "second": 1}
    assert (cost.user_retries, cost.infrastructure_retries, cost.steps_repeated) == (0, 0, 0)
    assert installation.restarts() == before, "an outage restarts nobody"


def test_a_run_is_suspended_and_resumed(installation: Installation, costs: Costs) -> None:
    trial = a_run_in_training(installation, "suspended", seed=31)
    pod = trial.pod("second")
    with trial.standing_still(pod):
        trial.patch({"suspend": True})
        trial.wait_until_told_to_stop(pod)
    label = f"acereason.dev/run={trial.name},acereason.dev/stage=second,acereason.dev/phase=train"
    trial.wait("no pod is left", lambda: not installation.get("pods", "-l", label)["items"])
    trial.wait("Suspended", lambda: trial.status()["state"] == "Suspended")
    trial.patch({"suspend": False})
    cost = costs.note("suspended and resumed", trial.complete())
    assert cost.attempts == {"first": 1, "second": 2}
    assert (cost.user_retries, cost.infrastructure_retries, cost.steps_repeated) == (0, 0, 0), (
        "it was told to stop, and saved the step that it was at"
    )


def test_the_volume_is_full(installation: Installation, costs: Costs) -> None:
    """It is filled while the second stage trains, and has room again once the run says so."""
    folder = installation.small_claim("small", mebibytes=128)
    trial = a_run_in_training(installation, "volume-full", seed=32, claim="small")
    finished = trial.stage("first")["artifact"]
    filler = folder / "filler"

    def is_full_and_said_so() -> bool:
        _fill_up(filler)  # again each time: older states that go make room
        return "no room left" in json.dumps(trial.status())

    trial.wait("its status says why", is_full_and_said_so)
    filler.unlink()
    cost = costs.note("volume full, then room again", trial.complete())
    assert trial.stage("first")["artifact"] == finished
    failed = cost.attempts["second"] - 1
    assert cost.attempts["first"] == 1 and failed >= 1
    assert (cost.user_retries, cost.infrastructure_retries) == (0, failed)


def test_a_published_artifact_is_corrupted(
    installation: Installation, observed: Prometheus, costs: Costs
) -> None:
    trial = Trial(installation, "artifact-corrupt", seed=33)
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


def assert_people_are_told(trial: Trial) -> None:
    """Which attempt was lost, that the infrastructure pays for it, and where its log is. (What
    ended it, each end says in other words.)"""
    said = trial.failures_told()
    log = f"log: kubectl logs -n {trial.there.namespace} "
    words = ("stage second: ", "(attempt 1", "1 of 21 infrastructure losses", log)
    assert any(all(word in line for word in words) for line in said), said


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
