"""What a platform engineer sees of an installation on a cluster with nodes."""

import json
import re
from typing import Any

import pytest

from tests.chart.rendered_chart import RELEASE
from tests.e2e.installation import PATIENCE, Installation
from tests.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def test_every_pod_is_ready_and_was_never_started_again(installation: Installation) -> None:
    label = f"app.kubernetes.io/instance={RELEASE}"
    words = ("get", "pods", "-n", installation.system, "-l", label, "-o", "json")

    def containers() -> list[Any]:
        pods = json.loads(installation.cluster.kubectl(*words))["items"]
        return [c for pod in pods for c in pod["status"]["containerStatuses"]]

    wait_for(lambda: all(c["ready"] for c in containers()), "all to be ready", containers, PATIENCE)
    started_again = [c["restartCount"] for c in containers()]
    assert started_again == [0, 0, 0], installation.cluster.kubectl(
        "describe", "pods", "-n", installation.system, "-l", label
    )


def test_the_operators_replicas_are_on_different_nodes(installation: Installation) -> None:
    nodes = {pod["spec"]["nodeName"] for pod in installation.operator_pods().values()}
    assert len(nodes) == 2


def test_helm_test_makes_a_run_and_takes_it_away(installation: Installation) -> None:
    """20 s: a run of one small stage, with all three images."""
    said = installation.helm("test", RELEASE, "--timeout", "20m")
    assert "the run is complete: the operator works, and so does the trainer's image" in said
    assert re.search(r"the verifier at http://\S+:8321 is ready", said)
    left = installation.get("arr")["items"]
    assert f"test-{RELEASE}" not in {run["metadata"]["name"] for run in left}
