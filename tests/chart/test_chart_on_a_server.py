"""A real API server takes what the chart makes.

A dry run on the server sees more than schemas do (`test_chart_schemas.py`): it refuses unknown
fields too, and also applies defaults, validation, CEL and admission.
"""

import json
import subprocess
from pathlib import Path
from urllib.error import HTTPError

import pytest
import yaml
from acereason_operator.cli.main import main as acereason

from tests.chart.rendered_chart import (
    RELEASE,
    Object,
    Values,
    environment,
    one,
    rendered,
)
from tests.chart.value_sets import VALUE_SETS
from tests.controlplane.control_plane import ControlPlane
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(1800)  # nothing here takes 10 s, but on a busy machine
RUNBOOKS = Path(__file__).parents[2] / "docs/runbooks.md"
NOT_BUILT_IN = ("PodMonitor", "PrometheusRule")


def dry_run(control_plane: ControlPlane, objects: list[Object]) -> None:
    """Raises CalledProcessError, with the server's sentences, where it refuses one of them."""
    listed = {"apiVersion": "v1", "kind": "List", "items": objects}
    control_plane.kubectl(
        *("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict"),
        *("-f", "-"),
        stdin=json.dumps(listed),
    )


@pytest.mark.parametrize("name", VALUE_SETS)
def test_the_server_takes_everything(name: str, control_plane: ControlPlane) -> None:
    values, namespace = dict(VALUE_SETS[name]), control_plane.new_namespace()
    if "namespaces" in values:
        values["namespaces"] = [control_plane.new_namespace() for _ in values["namespaces"]]
    objects = [o for o in rendered(values, namespace=namespace) if o["kind"] not in NOT_BUILT_IN]
    for account in (o["metadata"] for o in objects if o["kind"] == "ServiceAccount"):
        control_plane.service_account(namespace, account["name"])  # no pod is made without its own
    dry_run(control_plane, objects)


def test_a_field_that_does_not_exist_would_be_seen(control_plane: ControlPlane) -> None:
    deployment = one(rendered({}, namespace=control_plane.new_namespace()), "Deployment")
    deployment["spec"]["template"]["spec"]["enableServiceLink"] = False
    with pytest.raises(subprocess.CalledProcessError) as refused:
        dry_run(control_plane, [deployment])
    assert 'unknown field "enableServiceLink"' in refused.value.stderr


@pytest.mark.parametrize(
    "values", [{"verifier": {"enabled": True}}, VALUE_SETS["openshift"]], ids=["least", "openshift"]
)
def test_pods_meet_the_restricted_standard(values: Values, control_plane: ControlPlane) -> None:
    namespace = control_plane.new_namespace()
    control_plane.kubectl(
        "label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted"
    )
    objects = rendered(values, namespace=namespace)
    pods = [body for body in objects if body["kind"] == "Pod"]
    for deployment in (body for body in objects if body["kind"] == "Deployment"):
        meta = {"name": deployment["metadata"]["name"], "namespace": namespace}
        spec = deployment["spec"]["template"]["spec"]
        pods.append({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    for pod in pods:
        control_plane.service_account(namespace, pod["spec"]["serviceAccountName"])
    dry_run(control_plane, pods)
    pods[0]["spec"]["containers"][0]["securityContext"]["capabilities"] = {}
    with pytest.raises(subprocess.CalledProcessError) as refused:
        dry_run(control_plane, pods[:1])
    assert 'violates PodSecurity "restricted:latest"' in refused.value.stderr


def test_the_runbooks_pod_that_verifies_a_store_meets_it_too(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    namespace = control_plane.new_namespace()
    control_plane.kubectl(
        "label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted"
    )
    page = RUNBOOKS.read_text(encoding="utf-8")
    section = page.partition("## AceReasonCorruptArtifact\n")[2].partition("\n## ")[0]
    pod = yaml.safe_load(section.partition("<<'EOF'\n")[2].partition("    EOF\n")[0])
    pod["metadata"]["namespace"] = namespace
    control_plane.service_account(namespace, "default")
    dry_run(control_plane, [pod])
    (container,) = pod["spec"]["containers"]
    assert (
        container["image"]
        == environment(one(rendered({}), "Deployment"))["ACEREASON_PREPARE_IMAGE"]
    )
    (tmp_path / "artifacts").mkdir()
    assert container["command"][-1] == container["volumeMounts"][0]["mountPath"]
    assert acereason([*container["command"][1:-1], str(tmp_path)]) == 0


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_drain_moves_one_operator_at_a_time_and_the_only_one_too(
    replicas: int, control_plane: ControlPlane
) -> None:
    namespace = control_plane.new_namespace()
    objects = rendered({"operator": {"replicas": replicas}}, namespace=namespace)
    for kind in ("ServiceAccount", "Deployment", "PodDisruptionBudget"):
        made = one(objects, kind, "-operator")
        control_plane.kubectl("create", "-f", "-", stdin=json.dumps(made))
    place = f"/api/v1/namespaces/{namespace}/pods"

    def pods() -> list[str]:
        return [pod["metadata"]["name"] for pod in control_plane.request("GET", place)["items"]]

    def evict(pod: str) -> None:
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
        control_plane.request("POST", f"{place}/{pod}/eviction", eviction)

    wait_for(lambda: len(pods()) == replicas, "the operator's pods", pods, patience=600)
    working = pods()
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    for pod in working:
        control_plane.kubectl(
            *("patch", "pod", pod, "-n", namespace, "--subresource=status"),
            *("-p", json.dumps({"status": ready})),
        )
    budget = ("pdb", f"{RELEASE}-acereason-operator", "-n", namespace)
    allowed = "--for=jsonpath={.status.disruptionsAllowed}=1"
    control_plane.kubectl("wait", *budget, allowed, "--timeout=600s")
    evict(working[0])
    for pod in working[1:]:
        with pytest.raises(HTTPError) as refused:
            evict(pod)
        assert refused.value.code == 429
