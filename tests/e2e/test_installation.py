"""What a platform engineer sees of an installation on a cluster with nodes."""

import json

import pytest

from tests.chart.rendered_chart import RELEASE
from tests.e2e.installation import Installation

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def test_every_pod_is_ready_and_was_never_started_again(installation: Installation) -> None:
    label = f"app.kubernetes.io/instance={RELEASE}"
    words = ("get", "pods", "-n", installation.system, "-l", label, "-o", "json")
    pods = json.loads(installation.cluster.kubectl(*words))["items"]
    assert len(pods) == 3
    for pod in pods:
        (container,) = pod["status"]["containerStatuses"]
        assert (container["ready"], container["restartCount"]) == (True, 0)


def test_the_operators_replicas_are_on_different_nodes(installation: Installation) -> None:
    nodes = {pod["spec"]["nodeName"] for pod in installation.operator_pods().values()}
    assert len(nodes) == 2


def test_helm_test_makes_a_run_and_takes_it_away(installation: Installation) -> None:
    """20 s: a run of one small stage, with both images."""
    said = installation.helm("test", RELEASE, "--timeout", "20m")
    assert "the run is complete: the operator works, and so do the images" in said
    left = installation.get("arr")["items"]
    assert f"test-{RELEASE}" not in {run["metadata"]["name"] for run in left}
