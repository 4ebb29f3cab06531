"""What `helm install` tells a person to do next."""

import json
from pathlib import Path

import pytest

from tests.chart.rendered_chart import (
    CHART,
    NAMESPACE,
    RELEASE,
    Values,
    helm,
    one,
    rendered,
    with_least,
)
from tests.controlplane.control_plane import ControlPlane

NAME = f"{RELEASE}-acereason-operator"
METRICS = f"{NAME}-metrics:8080"
VERIFIER = f"http://{NAME}-verifier.{NAMESPACE}:8321"


@pytest.fixture(autouse=True)
def nothing_in_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What helm remembers of a cluster goes with the test."""
    for cache in ("KUBECACHEDIR", "HELM_CACHE_HOME"):
        monkeypatch.setenv(cache, str(tmp_path))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (
            {},
            [
                "serves runs in every namespace.",
                f"kubectl rollout status -n {NAMESPACE} deployment/{NAME}\n",
                f"helm test -n {NAMESPACE} {RELEASE} --timeout 960s ",
                f"kubectl apply -n {NAMESPACE} -f run.yaml",
                f"this cluster has no PodMonitors; scrape {METRICS}.",
                "Uninstalling leaves all runs, their definition and their volumes where they are.",
            ],
        ),
        (
            {"namespaces": ["research", "teaching"]},
            ["serves runs in research, teaching.", "kubectl get -n research arr --watch"],
        ),
        (
            {"monitoring": {"create": "never"}},
            [f"scrape {METRICS}; monitoring.create: always makes PodMonitors."],
        ),
        ({"verifier": {"enabled": True}}, [f"in the verifier service, {VERIFIER},\n"]),
        ({"networkPolicies": {"enabled": False}}, ["Network policies are off: whoever can make"]),
    ],
    ids=["least", "namespaces", "no-monitors", "verifier", "no-policies"],
)
def test_the_notes_name_what_is_there(
    values: Values, told: list[str], control_plane: ControlPlane
) -> None:
    # The shared cluster has the definition already, and not from a release.
    given = with_least({**values, "crds": {"enabled": False}})
    place = ("--kubeconfig", control_plane.kubeconfig, "--namespace", NAMESPACE)
    done = helm(
        *("install", RELEASE, CHART, *place, "--dry-run=client", "--output", "json"), values=given
    )
    assert done.returncode == 0, done.stderr
    notes = json.loads(done.stdout)["info"]["notes"]
    assert [sentence for sentence in told if sentence not in notes] == [], notes


def test_what_the_notes_name_is_made() -> None:
    objects = rendered({"verifier": {"enabled": True}})
    assert one(objects, "Deployment", NAME)
    for address in (METRICS, VERIFIER.removeprefix("http://")):
        host, _, port = address.partition(":")
        service = one(objects, "Service", host.split(".")[0])
        assert [each["port"] for each in service["spec"]["ports"]] == [int(port)]
