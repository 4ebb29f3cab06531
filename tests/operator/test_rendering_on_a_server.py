"""What is rendered, held to a real API server: it is valid, and what is wrong in a podTemplate is
said by the server in a sentence that names it."""

import asyncio
import json
import re
import urllib.error
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from acereason_operator.cluster import labels
from acereason_operator.cluster.api_server import ApiServer, path_of
from acereason_operator.cluster.protocol import CLAIM, EVENT, JOB, POD, Object, Refused
from acereason_operator.cluster.run_objects import KINDS, make_objects
from acereason_operator.cluster.views import job_view, refused_view, waits_for_room
from quotas import no_room_for
from rendering_builders import SNAPSHOTS, a_run, an_action, rendered

from tests.controlplane.control_plane import ControlPlane
from tests.waiting import wait_for

DRY_RUN = "dryRun=All&fieldValidation=Strict"


@pytest.fixture
def namespace(control_plane: ControlPlane) -> str:
    return control_plane.new_namespace("rendering")


def in_namespace(body: Object, namespace: str) -> Object:
    body = deepcopy(body)
    body["metadata"]["namespace"] = namespace
    return body


def create(control_plane: ControlPlane, namespace: str, body: Object) -> Object:
    """Create as the operator does. Raises ClusterError."""

    async def story() -> Object:
        async with await ApiServer.from_kubeconfig(control_plane.kubeconfig) as server:
            return await server.create(JOB, in_namespace(body, namespace))

    return asyncio.run(story())


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_the_server_accepts_what_is_rendered(
    control_plane: ControlPlane, namespace: str, name: str
) -> None:
    for body in SNAPSHOTS[name]():
        path = path_of({**KINDS, "Job": JOB}[body["kind"]], namespace)
        made = control_plane.request("POST", f"{path}?{DRY_RUN}", in_namespace(body, namespace))
        assert made["metadata"]["name"] == body["metadata"]["name"]


def test_the_server_accepts_the_documented_pod_of_a_fast_network(
    control_plane: ControlPlane, namespace: str
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
    (documented,) = re.findall(r"```yaml\n(podTemplate:.*?)```", page, re.DOTALL)
    run = a_run(defaults={"nodes": 2, "gpusPerNode": 8, **yaml.safe_load(documented)})
    body = rendered(run)
    path = path_of(JOB, namespace)
    made = control_plane.request("POST", f"{path}?{DRY_RUN}", in_namespace(body, namespace))
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"rdma/hca": "8", "nvidia.com/gpu": "8"}
    assert {"name": "NCCL_DEBUG", "value": "INFO"} in container["env"]


@pytest.mark.parametrize("phase", ["Prepare", "Train"])
def test_pods_meet_the_restricted_pod_security_standard(
    control_plane: ControlPlane, namespace: str, phase: Any
) -> None:
    enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
    path = f"/api/v1/namespaces/{namespace}"
    body = control_plane.request("GET", path)
    body["metadata"]["labels"] |= enforced
    control_plane.request("PUT", path, body)
    template = rendered(a_run(defaults={"nodes": 2}), phase=phase)["spec"]["template"]
    pod = {**template, "metadata": {**template["metadata"], "name": "p"}}
    pods = path_of(POD, namespace)
    assert control_plane.request("POST", f"{pods}?{DRY_RUN}", pod)["spec"]["restartPolicy"]
    del pod["spec"]["securityContext"]
    with pytest.raises(
        urllib.error.HTTPError
    ) as refused:  # so that the check above means something
        control_plane.request("POST", f"{pods}?{DRY_RUN}", pod)
    assert "violates PodSecurity" in json.load(refused.value)["message"]


@pytest.mark.parametrize(
    ("partial", "named", "why"),
    [
        ({"spec": {"tolerationz": []}}, 'unknown field "spec.template.spec.tolerationz"', "a typo"),
        ({"spec": {"restartPolicy": "OnFailure"}}, "restartPolicy", "the policy needs Never"),
        (
            {"spec": {"containers": [{"name": "trainer"}]}},
            "spec.template.spec.containers[1].image",
            "the container is called stage: this adds one without an image",
        ),
        (
            {"spec": {"containers": [{"name": "stage", "volumeMounts": [
                {"name": "data", "mountPath": "/data"}]}]}},
            "volumeMounts[4].name",
            "a mount without its volume",
        ),
        ({"spec": {"nodeSelector": "gpu"}}, "nodeSelector", "not even the type is right"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_pod_template_is_said_by_the_server(
    control_plane: ControlPlane, namespace: str, partial: Object, named: str, why: str
) -> None:
    run = a_run(defaults={"podTemplate": partial})
    with pytest.raises(Refused) as refused:
        create(control_plane, namespace, rendered(run))
    view = refused_view(an_action(run), refused.value)
    assert view.result is not None
    assert view.result.exit_code == 78, why
    assert named in view.result.message


def test_a_quota_that_refuses_pods_is_read_from_the_jobs_events(
    control_plane: ControlPlane, namespace: str
) -> None:
    no_room_for(POD, control_plane, namespace, "none")
    body = rendered(a_run())
    del body["metadata"]["ownerReferences"]  # the run is not there: the Job would be collected
    job = create(control_plane, namespace, body)
    uid = job["metadata"]["uid"]

    def message() -> str:
        path = path_of(EVENT, namespace)
        events = control_plane.request("GET", f"{path}?fieldSelector=regarding.uid%3D{uid}")
        return job_view(job, (), lambda node: True, None, events["items"]).message

    wait_for(lambda: "exceeded quota: none" in message(), "the quota's sentence")


def test_a_quota_of_jobs_is_want_of_room(control_plane: ControlPlane, namespace: str) -> None:
    no_room_for(JOB, control_plane, namespace, "jobs")
    with pytest.raises(Refused) as refused:
        create(control_plane, namespace, rendered(a_run()))
    assert waits_for_room(refused.value)


def test_a_claim_that_exists_is_left_as_it_is(control_plane: ControlPlane, namespace: str) -> None:
    """Another run, or a person, made it: its spec can't be changed anyway."""

    def run_of_size(size: str) -> Any:
        template = {"name": "runs", "storage": size}
        run = a_run(storage={"claimTemplate": template})
        meta = run.metadata.model_copy(update={"namespace": namespace})
        return run.model_copy(update={"metadata": meta})

    async def story() -> Object | None:
        async with await ApiServer.from_kubeconfig(control_plane.kubeconfig) as server:
            for size in ("1Gi", "2Gi"):
                await make_objects(server, run_of_size(size))
            return await server.get(CLAIM, namespace, "runs")

    claim = asyncio.run(story())
    assert claim is not None
    assert claim["spec"]["resources"]["requests"]["storage"] == "1Gi"
    assert labels.RUN not in claim["metadata"]["labels"]
