"""What `helm install` tells a person to do next."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.chart.rendered_chart import (
    CHART,
    NAMESPACE,
    RELEASE,
    Values,
    helm,
    one,
    rendered,
    template,
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
                "reach the API server at 443, 6443 alone. Where\n",
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


UNLABELLED = "monitoring.labels is empty: a Prometheus that selects by labels,"
UNLINKED = "monitoring.docsUrl is empty: the alerts' links to their runbooks lead nowhere"


@pytest.mark.parametrize(
    ("monitoring", "told"),
    [
        ({"labels": {"release": "p"}, "docsUrl": "https://git.example/a/"}, []),
        ({"docsUrl": "https://git.example/a/"}, [UNLABELLED]),
        ({"labels": {"release": "p"}}, [UNLINKED]),
        ({"create": "never"}, []),
    ],
    ids=["found-and-linked", "unlabelled", "unlinked", "no-monitors"],
)
def test_the_notes_say_what_keeps_alerts_from_being_of_use(
    monitoring: Values, told: list[str], tmp_path: Path
) -> None:
    notes = notes_where_prometheus_operator_is({"monitoring": monitoring}, tmp_path)
    assert [sentence for sentence in (UNLABELLED, UNLINKED) if sentence in notes] == told, notes


def notes_where_prometheus_operator_is(values: Values, folder: Path) -> str:
    """No server that tests start has its kinds, so the notes are shown as part of an object."""
    chart = folder / "chart"
    shutil.copytree(CHART, chart)
    shown = "templates/shown.yaml"
    (chart / shown).write_text(
        'kind: Notes\nnotes: {{ include (print .Template.BasePath "/NOTES.txt") . | toJson }}\n'
    )
    kinds = ("--api-versions", "monitoring.coreos.com/v1/PodMonitor")
    done = template(values, *kinds, "--show-only", shown, chart=chart)
    assert done.returncode == 0, done.stderr
    told: str = yaml.safe_load(done.stdout)["notes"]
    return told


def test_what_the_notes_name_is_made() -> None:
    objects = rendered({"verifier": {"enabled": True}})
    assert one(objects, "Deployment", NAME)
    for address in (METRICS, VERIFIER.removeprefix("http://")):
        host, _, port = address.partition(":")
        service = one(objects, "Service", host.split(".")[0])
        assert [each["port"] for each in service["spec"]["ports"]] == [int(port)]
