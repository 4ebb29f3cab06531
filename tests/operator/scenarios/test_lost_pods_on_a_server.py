"""Pods that others take, on a real API server: the infrastructure pays, and work goes on."""

from acereason_operator.cluster.api_server import path_of
from acereason_operator.cluster.protocol import NODE, POD, Object
from fake_controllers import stage_file_of
from scenarios.kubelets import condition, now
from scenarios.live_api import MERGE
from scenarios.scene import TRAINS, TWO_NODES, Scene

FINALIZER = {"metadata": {"finalizers": ["example.org/held", "batch.kubernetes.io/job-tracking"]}}


async def is_infrastructure(on: Scene, reason: str, words: str) -> None:
    """The first attempt was lost by nobody's fault, and says so; the next one does the work."""
    failure = await on.until(lambda: on.stage().last_failure)
    assert (failure.verdict, failure.reason) == ("Infrastructure", reason), failure
    assert on.stage().spent.user == 0
    assert on.stage().spent.infrastructure == 1
    text = await on.described()
    assert f"stage train: {words}" in text
    assert "1 of 21 infrastructure losses" in text
    on.release("train")
    await on.holds("Complete")
    assert on.stage().attempts == 2


async def preempt(on: Scene, pod: Object) -> None:
    """As the scheduler does: a mark, then the deletion."""
    marked = condition("DisruptionTarget", reason="PreemptionByScheduler", message="preempted")
    await on.kubelets.status(pod, conditions=[marked])
    await on.kubelets.delete(pod)


async def test_a_preempted_pod(on: Scene) -> None:
    on.hold = {"train"}
    await on.apply()
    (pod,) = await on.seen_running()
    await preempt(on, pod)
    name, node = pod["metadata"]["name"], pod["spec"]["nodeName"]
    await is_infrastructure(on, "Disrupted", f"pod {name} was taken from node {node}")


async def test_an_evicted_pod(on: Scene) -> None:
    """As the kubelet does under pressure: no code of a container, only a reason."""
    on.hold = {"train"}
    await on.apply()
    (pod,) = await on.seen_running()
    ended = {"exitCode": 137, "reason": "Error", "startedAt": now(), "finishedAt": now()}
    container = {**pod["status"]["containerStatuses"][0], "ready": False}
    await on.kubelets.status(
        pod,
        phase="Failed",
        reason="Evicted",
        message="The node was low on resource: ephemeral-storage.",
        containerStatuses=[{**container, "state": {"terminated": ended}}],
    )
    name = pod["metadata"]["name"]
    await is_infrastructure(on, "Disrupted", f"pod {name} was taken")


async def test_a_peer_that_exits_first_is_not_the_users_fault(on: Scene) -> None:
    """Exit 1 of a broken collective is seen before the preemption that broke it."""
    on.hold = {"train"}
    await on.apply(stages=[TWO_NODES])
    first, second = await on.seen_running(pods=2)
    # The Job controller deletes the peer of a failed pod, which must not go before it is preempted.
    on.part.dead = {first["spec"]["nodeName"]}
    await on.end(second, 1, message="rank 1: NCCL: remote process exited")
    await on.until(lambda: _ended(on, second))
    await preempt(on, first)
    on.part.dead = set()
    on.look_again()
    await is_infrastructure(on, "Disrupted", f"pod {first['metadata']['name']} was taken")


async def test_a_peer_that_exits_while_a_node_is_not_ready(on: Scene) -> None:
    """The pod of the silent node stays for ever; the next attempt does not wait for it."""
    on.hold = {"train"}
    await on.apply(stages=[{**TWO_NODES, "gracePeriod": "1s"}])
    first, second = await on.seen_running(pods=2)
    node = first["spec"]["nodeName"]
    await falls_silent(on, first)
    await on.end(second, 1, message="rank 1: NCCL: remote process exited")
    await is_infrastructure(on, "NodeLost", f"node {node} is not ready")
    assert on.pods(attempt=1), "it is still there"


async def test_a_pod_whose_node_is_gone(on: Scene) -> None:
    """The cluster's own garbage collector finds it, and marks it as lost before it removes it."""
    on.hold = {"train"}
    await on.apply()
    (pod,) = await on.seen_running()
    on.part.dead = {pod["spec"]["nodeName"]}
    await on.api.call("DELETE", path_of(NODE, None, pod["spec"]["nodeName"]))
    await is_infrastructure(on, "Disrupted", f"pod {pod['metadata']['name']} was taken")


async def test_a_peer_that_exits_as_a_node_goes(on: Scene) -> None:
    on.hold = {"train"}
    await on.apply(stages=[{**TWO_NODES, "gracePeriod": "1s"}])
    first, second = await on.seen_running(pods=2)
    node = second["spec"]["nodeName"]
    # In this order: on a busy machine the settling window may be over between the two.
    await on.api.call("DELETE", path_of(NODE, None, node))
    await on.end(second, 1, message="rank 1: bus error")
    await is_infrastructure(on, "NodeLost", f"node {node} is not ready")
    assert first["spec"]["nodeName"] != node


async def test_a_pod_that_is_terminating_for_ever_on_a_dead_node(on: Scene) -> None:
    """Its node is unreachable and somebody holds it with a finalizer: it never goes."""
    on.hold = {"train"}
    await on.apply(stages=[{**TRAINS, "gracePeriod": "1s"}])
    (pod,) = await on.seen_running()
    state = on.saves(pod, step=7)
    path = path_of(POD, on.namespace, pod["metadata"]["name"])
    await on.api.call("PATCH", path, FINALIZER, MERGE)
    await falls_silent(on, pod)
    await on.kubelets.delete(pod)
    node = pod["spec"]["nodeName"]
    (again,) = await on.running(attempt=2)
    assert again["spec"]["nodeName"] != node
    prepared = stage_file_of(again).prepared
    assert prepared is not None
    assert prepared.resume == state
    await is_infrastructure(on, "NodeLost", f"node {node} is not ready")
    assert on.pods(attempt=1), "it is still there"


async def test_a_lost_pod_of_prepare(on: Scene) -> None:
    on.part.script = lambda pod: None
    await on.apply()
    (pod,) = await on.until(lambda: _running(on.pods(phase="prepare")))
    await preempt(on, pod)
    failure = await on.until(lambda: on.stage().last_failure)
    assert (failure.verdict, failure.reason) == ("Infrastructure", "Disrupted")
    on.part.script = on.script
    on.look_again()
    await on.holds("Complete")


async def falls_silent(on: Scene, pod: Object) -> None:
    """A pod's node: as the node controller marks it and its pods."""
    node = pod["spec"]["nodeName"]
    on.part.dead = {node}
    await on.kubelets.node_is(node, "Unknown")
    await on.kubelets.status(pod, conditions=[condition("Ready", "False", "NodeNotReady")])


def _ended(on: Scene, pod: Object) -> bool:
    found = on.api.objects[POD].get((on.namespace, pod["metadata"]["name"]))
    return found is None or found["status"]["phase"] == "Failed"


def _running(pods: list[Object]) -> list[Object]:
    return [pod for pod in pods if pod["status"].get("phase") == "Running"]
