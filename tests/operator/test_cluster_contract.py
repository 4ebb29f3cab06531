"""What every Cluster promises: the fake is held to a real API server and its controllers.

Each test is a story that runs against both. "Comes true" is what a server does by itself: the
fake's controllers are stepped, a real one is given time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from http import HTTPStatus
from typing import Any, Protocol
from urllib.error import HTTPError

import pytest
from acereason_operator.cluster.api_server import ApiServer, path_of
from acereason_operator.cluster.job import job_for
from acereason_operator.cluster.protocol import (
    CLAIM,
    EVENT,
    JOB,
    LEASE,
    POD,
    RUN,
    SERVICE,
    AlreadyExists,
    Cluster,
    Conflict,
    Kind,
    NotFound,
    Object,
)
from acereason_operator.cluster.storage import claim_for
from fake_cluster import FakeCluster
from fake_controllers import Controllers
from rendering_builders import OPTIONS, a_run, an_action, run_body

from tests.controlplane.control_plane import ControlPlane
from tests.waiting import PATIENCE

Story = Callable[["World", Cluster], Awaitable[None]]
LABELS = {"app.kubernetes.io/managed-by": "acereason-operator"}


class World(Protocol):
    """A server with what runs beside it."""

    namespace: str

    def play(self, story: Story) -> None:
        """Run a story against it."""
        ...

    def edit_status(self, kind: Kind, name: str, change: Callable[[Object], None]) -> None:
        """A kubelet or a controller writes status."""
        ...

    def edit_spec(self, kind: Kind, name: str, change: Callable[[Object], None]) -> None:
        """Somebody else changes an object."""
        ...

    async def comes_true(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Wait for what the cluster does by itself."""
        ...


class Fake:
    """FakeCluster and Controllers; pods run and never end by themselves."""

    namespace = "default"

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.controllers = Controllers(self.cluster, lambda pod: None, nodes=0)

    def play(self, story: Story) -> None:
        asyncio.run(_awaited(story(self, self.cluster)))

    def edit_status(self, kind: Kind, name: str, change: Callable[[Object], None]) -> None:
        self.cluster.edit(kind, self.namespace, name, change)

    edit_spec = edit_status

    async def comes_true(self, holds: Callable[[], Awaitable[bool]]) -> None:
        self.controllers.settle()
        assert await holds()


class Real:
    """An API server, etcd and the controller manager; no scheduler and no kubelet."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self.control_plane = control_plane
        self.namespace = control_plane.new_namespace("contract")

    def play(self, story: Story) -> None:
        async def on_server() -> None:
            async with await ApiServer.from_kubeconfig(self.control_plane.kubeconfig) as server:
                await story(self, server)

        asyncio.run(on_server())

    def edit_status(self, kind: Kind, name: str, change: Callable[[Object], None]) -> None:
        self._edit(kind, name, change, "/status")

    def edit_spec(self, kind: Kind, name: str, change: Callable[[Object], None]) -> None:
        self._edit(kind, name, change, "")

    def _edit(
        self, kind: Kind, name: str, change: Callable[[Object], None], subresource: str
    ) -> None:
        path = path_of(kind, self.namespace, name)
        while True:  # the cluster's own controllers write too
            body = self.control_plane.request("GET", path)
            change(body)
            try:
                self.control_plane.request("PUT", path + subresource, body)
                return
            except HTTPError as error:
                if error.code != HTTPStatus.CONFLICT:
                    raise

    async def comes_true(self, holds: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not await holds():
                await asyncio.sleep(0.05)


@pytest.fixture(params=["fake", "api server"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "fake":
        yield Fake()
    else:
        yield Real(request.getfixturevalue("control_plane"))


async def _awaited(waited: Awaitable[None]) -> None:
    await waited


def a_service(namespace: str, name: str = "s", **labels: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "labels": {**LABELS, **labels}},
        "spec": {"clusterIP": "None", "selector": {"a": "b"}},
    }


def a_lease(namespace: str, holder: str = "one") -> Object:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "leader", "namespace": namespace},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15},
    }


def a_run_body(namespace: str, name: str = "r") -> Object:
    body = run_body(name)
    body["metadata"]["namespace"] = namespace
    return body


async def a_job(world: World, cluster: Cluster, nodes: int = 1, **changes: Any) -> Object:
    """A train Job of a run that exists."""
    made = await cluster.create(RUN, a_run_body(world.namespace))
    run = a_run("r", defaults={"nodes": nodes})
    meta = {"namespace": world.namespace, "uid": made["metadata"]["uid"]}
    run = run.model_copy(update={"metadata": run.metadata.model_copy(update=meta)})
    body = job_for(an_action(run), run, OPTIONS)
    body["spec"] |= changes
    return await cluster.create(JOB, body)


def version(body: Object) -> int:
    return int(body["metadata"]["resourceVersion"])


def test_what_is_not_there_is_none(world: World) -> None:
    async def story(world: World, cluster: Cluster) -> None:
        assert await cluster.get(RUN, world.namespace, "nobody") is None
        assert (await cluster.list(RUN, world.namespace)).items == ()

    world.play(story)


def test_what_is_created_can_be_read_and_has_an_identity(world: World) -> None:
    async def story(world: World, cluster: Cluster) -> None:
        made = await cluster.create(RUN, a_run_body(world.namespace))
        meta = made["metadata"]
        assert meta["uid"] and meta["creationTimestamp"].endswith("Z")
        assert meta["generation"] == 1
        assert (made["apiVersion"], made["kind"]) == ("acereason.dev/v1alpha1", "AceReasonRun")
        assert await cluster.get(RUN, world.namespace, "r") == made

    world.play(story)


def test_a_name_is_taken_once(world: World) -> None:
    async def story(world: World, cluster: Cluster) -> None:
        await cluster.create(SERVICE, a_service(world.namespace))
        with pytest.raises(AlreadyExists, match="already exists") as refused:
            await cluster.create(SERVICE, a_service(world.namespace))
        assert refused.value.status == 409

    world.play(story)


def test_a_namespace_or_kind_that_is_not_there_is_not_found(world: World) -> None:
    async def story(world: World, cluster: Cluster) -> None:
        with pytest.raises(NotFound, match="no-such-place"):
            await cluster.create(SERVICE, a_service("no-such-place"))
        with pytest.raises(NotFound):
            await cluster.list(Kind("Wish", "acereason.dev", "v1alpha1", "wishes"), None)

    world.play(story)


def test_a_status_is_not_created_with_its_object(world: World) -> None:
    async def story(world: World, cluster: Cluster) -> None:
        body = {**a_run_body(world.namespace), "status": {"state": "Complete"}}
        made = await cluster.create(RUN, body)
        assert "status" not in made

    world.play(story)


def test_lists_are_selected_and_say_what_their_items_are(world: World) -> None:
    async def story(world: World, cluster: Cluster) -> None:
        for name, labels in (("a", {"x": "1"}), ("b", {"x": "2"}), ("c", {})):
            await cluster.create(SERVICE, a_service(world.namespace, name, **labels))
        chosen = {
            "any x": await cluster.list(SERVICE, world.namespace, {"x": ""}),
            "x 2": await cluster.list(SERVICE, world.namespace, {"x": "2", **LABELS}),
            "all": await cluster.list(SERVICE, world.namespace),
        }
        names = {why: [s["metadata"]["name"] for s in got.items] for why, got in chosen.items()}
        assert names == {"any x": ["a", "b"], "x 2": ["b"], "all": ["a", "b", "c"]}
        first = chosen["all"].items[0]
        assert (first["apiVersion"], first["kind"]) == ("v1", "Service")
        assert int(chosen["all"].resource_version) >= max(map(version, chosen["all"].items))

    world.play(story)


def test_a_list_of_all_namespaces_holds_ours(world: World) -> None:
    async def story(world: World, cluster: Cluster) -> None:
        made = await cluster.create(RUN, a_run_body(world.namespace, "everywhere"))
        uids = {r["metadata"]["uid"] for r in (await cluster.list(RUN, None)).items}
        assert made["metadata"]["uid"] in uids

    world.play(story)


def test_events_are_found_by_what_they_are_about(world: World) -> None:
    async def story(world: World, cluster: Cluster) -> None:
        for uid in ("one", "two"):
            about = {"kind": "Job", "namespace": world.namespace, "name": "j", "uid": uid}
            await cluster.create(
                EVENT,
                {
                    "apiVersion": "events.k8s.io/v1",
                    "kind": "Event",
                    "metadata": {"name": f"e-{uid}", "namespace": world.namespace},
                    "eventTime": "2026-01-31T12:00:00.000000Z",
                    "type": "Warning",
                    "reason": "FailedCreate",
                    "action": "Create",
                    "note": f"no room for {uid}",
                    "regarding": about,
                    "reportingController": "job-controller",
                    "reportingInstance": "one",
                },
            )
        found = await cluster.list(
            EVENT, world.namespace, fields={"regarding.uid": "two", "reason": "FailedCreate"}
        )
        assert [event["note"] for event in found.items] == ["no room for two"]

    world.play(story)


def test_a_status_is_replaced_and_nothing_else_is(world: World) -> None:
    async def story(world: World, cluster: Cluster) -> None:
        made = await cluster.create(RUN, a_run_body(world.namespace))
        first = await cluster.write_status(made, {"state": "Running", "stage": "sft"})
        meddling = {**first, "spec": {**first["spec"], "seed": 5}}
        second = await cluster.write_status(meddling, {"state": "Complete"})
        assert second["status"]["state"] == "Complete"
        assert not second["status"].get("stage")
        assert second["spec"] == made["spec"]
        assert second["metadata"]["generation"] == 1
        assert version(made) < version(first) < version(second)

    world.play(story)


def test_a_status_made_from_an_older_form_is_a_conflict(world: World) -> None:
    async def story(world: World, cluster: Cluster) -> None:
        made = await cluster.create(RUN, a_run_body(world.namespace))
        written = await cluster.write_status(made, {"state": "Running"})
        with pytest.raises(Conflict):
            await cluster.write_status(made, {"state": "Failed"})
        assert await cluster.get(RUN, world.namespace, "r") == written

    world.play(story)


def test_a_status_after_an_edit_of_the_spec_is_a_conflict(world: World) -> None:
    async def story(world: World, cluster: Cluster) -> None:
        made = await cluster.create(RUN, a_run_body(world.namespace))
        world.edit_spec(RUN, "r", lambda run: run["spec"].update(suspend=True))
        with pytest.raises(Conflict):
            await cluster.write_status(made, {"state": "Running"})
        edited = await cluster.get(RUN, world.namespace, "r")
        assert edited is not None and edited["metadata"]["generation"] == 2

    world.play(story)


def test_a_status_of_a_run_that_is_gone_is_not_found_and_of_another_a_conflict(
    world: World,
) -> None:
    async def story(world: World, cluster: Cluster) -> None:
        made = await cluster.create(RUN, a_run_body(world.namespace))
        uid = made["metadata"]["uid"]
        await cluster.delete(RUN, world.namespace, "r", uid, "Background")
        with pytest.raises(NotFound):
            await cluster.write_status(made, {"state": "Running"})
        await cluster.create(RUN, a_run_body(world.namespace))
        with pytest.raises(Conflict):
            await cluster.write_status(made, {"state": "Running"})

    world.play(story)


def test_the_same_status_again_changes_nothing(world: World) -> None:
    async def story(world: World, cluster: Cluster) -> None:
        made = await cluster.create(RUN, a_run_body(world.namespace))
        first = await cluster.write_status(made, {"state": "Running"})
        assert version(await cluster.write_status(first, {"state": "Running"})) == version(first)

    world.play(story)


def test_applying_makes_keeps_and_takes_back_what_is_ours(world: World) -> None:
    async def story(world: World, cluster: Cluster) -> None:
        first = await cluster.apply(SERVICE, a_service(world.namespace, mine="1", old="1"))
        again = await cluster.apply(SERVICE, a_service(world.namespace, mine="1", old="1"))
        assert version(again) == version(first)

        def somebody(service: Object) -> None:
            service["metadata"]["labels"]["theirs"] = "1"

        world.edit_spec(SERVICE, "s", somebody)
        after = await cluster.apply(SERVICE, a_service(world.namespace, mine="2"))
        assert after["metadata"]["labels"] == {**LABELS, "mine": "2", "theirs": "1"}
        assert after["metadata"]["uid"] == first["metadata"]["uid"]

    world.play(story)


def test_a_lease_is_replaced_by_whoever_read_it_last(world: World) -> None:
    async def story(world: World, cluster: Cluster) -> None:
        one = await cluster.create(LEASE, a_lease(world.namespace))
        two = await cluster.replace(LEASE, {**one, "spec": {**one["spec"], "holderIdentity": "2"}})
        assert version(two) > version(one)
        with pytest.raises(Conflict):
            await cluster.replace(LEASE, one)
        found = await cluster.get(LEASE, world.namespace, "leader")
        assert found is not None and found["spec"]["holderIdentity"] == "2"

    world.play(story)


def test_deleting_what_is_gone_or_another_of_that_name_is_done_already(world: World) -> None:
    async def story(world: World, cluster: Cluster) -> None:
        made = await cluster.create(CLAIM, claim(world.namespace))
        uid = made["metadata"]["uid"]
        await cluster.delete(CLAIM, world.namespace, "nobody", uid, "Background")
        other = "00000000-0000-0000-0000-000000000000"
        await cluster.delete(CLAIM, world.namespace, "runs", other, "Background")
        assert await cluster.get(CLAIM, world.namespace, "runs") is not None

    world.play(story)


def claim(namespace: str) -> Object:
    body = claim_for(a_run(storage={"claimTemplate": {"name": "runs", "storage": "1Gi"}}))
    assert body is not None
    body["metadata"]["namespace"] = namespace
    return body


def test_what_is_deleted_in_the_background_is_gone_at_once_and_its_children_follow(
    world: World,
) -> None:
    async def story(world: World, cluster: Cluster) -> None:
        job = await a_job(world, cluster, suspend=True)
        run = await cluster.get(RUN, world.namespace, "r")
        assert run is not None
        await cluster.delete(RUN, world.namespace, "r", run["metadata"]["uid"], "Background")
        assert await cluster.get(RUN, world.namespace, "r") is None

        async def orphaned() -> bool:
            return await cluster.get(JOB, world.namespace, job["metadata"]["name"]) is None

        await world.comes_true(orphaned)

    world.play(story)


async def pods_of(cluster: Cluster, world: World) -> tuple[Object, ...]:
    return (await cluster.list(POD, world.namespace, LABELS)).items


def has_pods(cluster: Cluster, world: World, wanted: int) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return len(await pods_of(cluster, world)) == wanted

    return holds


def test_what_is_deleted_in_the_foreground_goes_after_its_children(world: World) -> None:
    async def story(world: World, cluster: Cluster) -> None:
        job = (await a_job(world, cluster))["metadata"]
        await world.comes_true(has_pods(cluster, world, 1))
        (pod,) = await pods_of(cluster, world)
        world.edit_spec(POD, pod["metadata"]["name"], held_back)
        await cluster.delete(JOB, world.namespace, job["name"], job["uid"], "Foreground")
        seen = await cluster.get(JOB, world.namespace, job["name"])
        assert seen is not None and "deletionTimestamp" in seen["metadata"]

        async def asked_to_end() -> bool:
            found = await pods_of(cluster, world)
            return all("deletionTimestamp" in pod["metadata"] for pod in found)

        await world.comes_true(asked_to_end)
        assert await cluster.get(JOB, world.namespace, job["name"]) is not None
        world.edit_spec(POD, pod["metadata"]["name"], let_go)

        async def gone() -> bool:
            return await cluster.get(JOB, world.namespace, job["name"]) is None

        await world.comes_true(gone)
        assert await pods_of(cluster, world) == ()

    world.play(story)


HOLD = "acereason.dev/test"


def held_back(body: Object) -> None:
    body["metadata"].setdefault("finalizers", []).append(HOLD)


def let_go(body: Object) -> None:
    body["metadata"]["finalizers"] = [f for f in body["metadata"]["finalizers"] if f != HOLD]


def test_a_job_makes_a_pod_for_each_node_that_names_its_index_and_its_owner(world: World) -> None:
    async def story(world: World, cluster: Cluster) -> None:
        job = await a_job(world, cluster, nodes=3)
        await world.comes_true(has_pods(cluster, world, 3))
        pods = await pods_of(cluster, world)
        indexes = {
            p["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] for p in pods
        }
        assert indexes == {"0", "1", "2"}
        for pod in pods:
            (owner,) = pod["metadata"]["ownerReferences"]
            assert (owner["uid"], owner["controller"]) == (job["metadata"]["uid"], True)
            assert "acereason.dev/stage-file" in pod["metadata"]["annotations"]
        seen = await cluster.get(JOB, world.namespace, job["metadata"]["name"])
        assert seen is not None and "startTime" in seen["status"]

    world.play(story)


def test_a_suspended_job_has_no_pods_and_no_start(world: World) -> None:
    async def story(world: World, cluster: Cluster) -> None:
        job = await a_job(world, cluster, suspend=True)

        async def says_so() -> bool:
            return condition(await job_now(cluster, world, job), "Suspended") is not None

        await world.comes_true(says_so)
        seen = await job_now(cluster, world, job)
        assert "startTime" not in seen["status"]
        assert await pods_of(cluster, world) == ()

    world.play(story)


def test_suspending_a_job_takes_its_pods_and_fails_nothing(world: World) -> None:
    async def story(world: World, cluster: Cluster) -> None:
        job = await a_job(world, cluster, nodes=2)
        await world.comes_true(has_pods(cluster, world, 2))
        world.edit_spec(
            JOB, job["metadata"]["name"], lambda body: body["spec"].update(suspend=True)
        )
        await world.comes_true(has_pods(cluster, world, 0))
        world.edit_spec(
            JOB, job["metadata"]["name"], lambda body: body["spec"].update(suspend=False)
        )
        await world.comes_true(has_pods(cluster, world, 2))
        seen = await job_now(cluster, world, job)
        assert condition(seen, "Failed") is None and condition(seen, "FailureTarget") is None

    world.play(story)


async def job_now(cluster: Cluster, world: World, job: Object) -> Object:
    found = await cluster.get(JOB, world.namespace, job["metadata"]["name"])
    assert found is not None
    return found


def condition(body: Object, kind: str) -> Object | None:
    told = body.get("status", {}).get("conditions") or []
    return next((c for c in told if c["type"] == kind and c["status"] == "True"), None)


def ends(code: int) -> Callable[[Object], None]:
    """A kubelet reports the end of the stage's container."""

    def change(pod: Object) -> None:
        now = "2026-01-31T12:00:00Z"
        ended = {"exitCode": code, "reason": "Error", "startedAt": now, "finishedAt": now}
        pod["status"]["phase"] = "Failed" if code else "Succeeded"
        pod["status"]["containerStatuses"] = [
            {
                "name": "stage", "image": "i", "imageID": "i", "ready": False, "restartCount": 0,
                "state": {"terminated": ended},
            }
        ]  # fmt: skip

    return change


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (1, "BackoffLimitExceeded"),
        (75, "BackoffLimitExceeded"),
        (65, "PodFailurePolicy"),
        (78, "PodFailurePolicy"),
    ],
)
def test_a_job_fails_with_its_first_failed_pod(world: World, code: int, reason: str) -> None:
    async def story(world: World, cluster: Cluster) -> None:
        job = await a_job(world, cluster, nodes=2)
        await world.comes_true(has_pods(cluster, world, 2))
        first, _ = await pods_of(cluster, world)
        world.edit_status(POD, first["metadata"]["name"], ends(code))

        async def failed() -> bool:
            return condition(await job_now(cluster, world, job), "Failed") is not None

        await world.comes_true(failed)
        said = condition(await job_now(cluster, world, job), "Failed")
        assert said is not None and said["reason"] == reason
        left = await pods_of(cluster, world)
        assert [pod["metadata"]["name"] for pod in left] == [first["metadata"]["name"]]

    world.play(story)


def test_a_job_is_complete_when_every_index_is(world: World) -> None:
    async def story(world: World, cluster: Cluster) -> None:
        job = await a_job(world, cluster, nodes=2)
        await world.comes_true(has_pods(cluster, world, 2))
        for pod in await pods_of(cluster, world):
            assert condition(await job_now(cluster, world, job), "Complete") is None
            world.edit_status(POD, pod["metadata"]["name"], ends(0))

        async def complete() -> bool:
            return condition(await job_now(cluster, world, job), "Complete") is not None

        await world.comes_true(complete)

    world.play(story)


def test_a_disruption_fails_a_job_by_its_policy(world: World) -> None:
    async def story(world: World, cluster: Cluster) -> None:
        job = await a_job(world, cluster)
        await world.comes_true(has_pods(cluster, world, 1))
        (pod,) = await pods_of(cluster, world)

        def taken(body: Object) -> None:
            ends(143)(body)
            now = "2026-01-31T12:00:00Z"
            body["status"].setdefault("conditions", []).append(
                {
                    "type": "DisruptionTarget", "status": "True", "lastTransitionTime": now,
                    "reason": "PreemptionByScheduler", "message": "",
                }
            )  # fmt: skip

        world.edit_status(POD, pod["metadata"]["name"], taken)

        async def failed() -> bool:
            said = condition(await job_now(cluster, world, job), "Failed")
            return said is not None and said["reason"] == "PodFailurePolicy"

        await world.comes_true(failed)

    world.play(story)
