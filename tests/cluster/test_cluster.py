"""The cluster in a box.

Cost on 2 cores: two starts of it, and half a minute for a node to be lost and found.
"""

import json
import os
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import machine
from tests.cluster.cluster import NODES, Cluster, NodeName
from tests.cluster.containerd import Containerd
from tests.cluster.image_seed import BUSYBOX
from tests.cluster.lifetime import AlreadyRuns, running_cluster
from tests.cluster.process import ahead_of_others, wait
from tests.cluster.programs import cluster_programs
from tests.cluster.traces import SLEEP, Traces, sleepers
from tests.images.buildah import buildah

PATIENTLY = "--timeout=600s"
"""Of `kubectl wait`, for what takes seconds on an idle machine."""
pytestmark = pytest.mark.timeout(3600)  # the start of the cluster too, and unpacking the images

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "tests.cluster")


def test_a_wait_goes_on_where_a_busy_server_does_not_answer_in_time() -> None:
    said: list[OSError | bool] = [
        TimeoutError(),
        urllib.error.URLError(TimeoutError()),
        *(urllib.error.HTTPError("", code, "busy", Message(), None) for code in (429, 503)),
        True,
    ]
    answers = iter(said)

    def holds() -> bool:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    wait("it holds", holds)
    assert not [*answers]


def test_what_is_started_ahead_of_others_stays_there_and_its_starter_does_not() -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with ahead_of_others():
        ahead = os.getpriority(os.PRIO_PROCESS, 0)
        with subprocess.Popen(["sleep", "600"]) as started:
            inherited = os.getpriority(os.PRIO_PROCESS, started.pid)
            started.kill()
    assert inherited == ahead <= before
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_who_starts_a_cluster_comes_before_who_shares_the_sessions() -> None:
    """Whatever is asked for first."""
    words = ("-m", "pytest", "--collect-only", "-q", "tests/e2e/test_installation.py", __file__)
    listed = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    first = test_what_a_crash_of_the_command_leaves_can_be_removed.__name__
    assert listed[0] == f"tests/cluster/test_cluster.py::{first}"
    assert listed[1].startswith("tests/e2e/")


@pytest.mark.slow
@pytest.mark.usefixtures("no_cluster")
def test_what_a_crash_of_the_command_leaves_can_be_removed() -> None:
    """By `--clean`. Until then it does what it tells. A start with a running pod: 15 s."""
    before = Traces.now()
    kubectl = cluster_programs()["kubectl"]
    with subprocess.Popen(
        COMMAND, cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as command:  # fmt: skip
        assert command.stdout
        told = list(takewhile(lambda line: line != "Ctrl-C ends it\n", command.stdout))
        (export,) = [line for line in told if line.startswith("export KUBECONFIG=")]
        environment = os.environ | {"KUBECONFIG": export.strip().partition("=")[2]}
        pod = a_pod("default", "sleeper", f"exec sleep {SLEEP}", {"nodeName": "n1"})
        ready = ["wait", "pod/sleeper", "--for=condition=Ready", PATIENTLY]
        for arguments in (["apply", "-f", "-"], ready):
            subprocess.run(
                [kubectl, *arguments],
                env=environment, input=json.dumps(pod), text=True, check=True, capture_output=True,
            )  # fmt: skip
        wait("it sleeps", lambda: bool(sleepers()))
        command.kill()
    left = Traces.now()
    assert left.processes
    assert left.sleepers
    assert left.mounts
    assert left.rules
    assert left.links
    assert left.cgroups
    subprocess.run([*COMMAND, "--clean"], cwd=ROOT, check=True)
    assert not Traces.now().since(before)


@pytest.mark.slow
def test_pods_on_two_nodes_meet_by_name_share_a_volume_and_reach_the_api_server(
    cluster: Cluster,
) -> None:
    """The start of the session's cluster (20 s), and 10 s."""
    namespace = cluster.new_namespace()
    cluster.apply(*a_gang(namespace))
    ended = wait_for_job(cluster, namespace, "gang")
    logs = ("logs", "-n", namespace, "--tail=-1", "-l")
    assert ended == "Complete", cluster.kubectl(*logs, "app=gang")
    pods = json.loads(cluster.kubectl("get", "pods", "-n", namespace, "-o", "json"))["items"]
    assert {pod["spec"]["nodeName"] for pod in pods} == set(NODES)
    for index in (0, 1):
        said = cluster.kubectl(*logs, f"batch.kubernetes.io/job-completion-index={index}")
        assert f"I am {1 - index}" in said
        # busybox speaks no cipher of the API server's; its refusal to go without is an answer too.
        assert "HTTP request to an HTTPS server" in said
    folder = cluster.volume_folder(namespace, "store")
    assert {file.name for file in folder.iterdir()} == {"met-0", "met-1"}


def test_a_pod_reaches_a_pod_beside_it_through_a_service(cluster: Cluster) -> None:
    namespace = cluster.new_namespace()
    serve = "while true; do echo served | nc -l -p 9000; done"
    beside = {"nodeName": "n1"}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "served", "namespace": namespace},
        "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 9000}]},
    }
    ask = "until nc -w 2 served 80 </dev/null | grep served; do sleep 0.2; done"
    cluster.apply(
        service,
        a_pod(namespace, "server", serve, beside),
        a_pod(namespace, "client", ask, {**beside, "restartPolicy": "Never"}),
    )
    cluster.kubectl(
        "wait", "-n", namespace, "pod/client", "--for=jsonpath={.status.phase}=Succeeded",
        PATIENTLY,
    )  # fmt: skip


def test_a_small_volume_can_be_filled(cluster: Cluster) -> None:
    namespace = cluster.new_namespace()
    name = f"small-{namespace}"
    folder = cluster.small_volume(name, mebibytes=8)
    mount = {"name": "store", "mountPath": "/store"}
    cluster.apply(
        a_claim(namespace, "store", name),
        a_pod(
            namespace, "writer", "sleep 3600",
            {"volumes": [{"name": "store", "persistentVolumeClaim": {"claimName": "store"}}]},
            {"volumeMounts": [mount]},
        ),
    )  # fmt: skip
    cluster.kubectl("wait", "-n", namespace, "pod/writer", "--for=condition=Ready", PATIENTLY)
    write = ["exec", "-n", namespace, "writer", "--", "dd", "if=/dev/zero", "bs=1M"]
    cluster.kubectl(*write, "of=/store/fits", "count=4")
    assert (folder / "fits").stat().st_size == 4 * 2**20
    with pytest.raises(subprocess.CalledProcessError) as full:
        cluster.kubectl(*write, "of=/store/does-not", "count=8")
    assert "No space left on device" in full.value.stderr


def test_an_image_that_is_built_while_the_cluster_runs_reaches_both_nodes(cluster: Cluster) -> None:
    namespace = cluster.new_namespace()
    name = f"localhost/cluster-test:{namespace}"
    container = buildah("from", "scratch")
    try:
        buildah("copy", "--quiet", container, str(machine.static_busybox()), "/bin/sh")
        buildah("commit", "--quiet", container, name)
        cluster.load_images(name)
    finally:
        buildah("rm", container)
        buildah("rmi", "--force", name)
    for node in NODES:
        spec = {"nodeName": node, "restartPolicy": "Never"}
        image = {"image": name, "imagePullPolicy": "Never"}
        cluster.apply(a_pod(namespace, f"on-{node}", "exit 0", spec, image))
    for node in NODES:
        cluster.kubectl(
            "wait", "-n", namespace, f"pod/on-{node}",
            "--for=jsonpath={.status.phase}=Succeeded", PATIENTLY,
        )  # fmt: skip


def test_what_is_brought_in_stays_though_no_image_refers_to_it_yet(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Blobs come one by one, and their image last. By itself containerd would take the first."""
    containerd = Containerd(tmp_path_factory.mktemp("seed"), "seed", subnet="")
    contents = {f"import-{number}": str(number).encode() for number in range(20)}
    containerd.start()
    try:
        containerd.wait_until_ready()
        for name, content in contents.items():
            ingest = containerd.ctr_command("content", "ingest", name)
            subprocess.run(ingest, input=content, check=True)
        containerd.ctr("leases", "create", "--id", "passing")  # as an import does
        containerd.ctr("leases", "delete", "passing")
        last = containerd.ctr_command("content", "ingest", "last")
        subprocess.run(last, input=b"last", check=True)
        assert len(containerd.ctr("content", "ls", "--quiet").split()) == len(contents) + 1
    finally:
        containerd.process.kill()


def test_a_second_cluster_is_refused_and_the_first_one_named(cluster: Cluster) -> None:
    named = f"started by process {os.getpid()}"
    with pytest.raises(AlreadyRuns, match=named), running_cluster():
        pass
    words = [*COMMAND, "--clean"]
    cleaning = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert cleaning.returncode == 1
    assert named in cleaning.stderr
    wait("the first one is as it was", lambda: cluster.is_ready("n1"))


def test_a_kubelet_answers_nobody_who_has_no_right_to_ask(cluster: Cluster) -> None:
    namespace = cluster.new_namespace()
    pods_token = cluster.control_plane.service_account(namespace, "default").token
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE  # it made its own
    for token, refusal in (("", 401), (pods_token, 403)):
        asked = urllib.request.Request(
            f"https://{cluster.nodes['n1'].address}:10250/pods",
            headers={"Authorization": f"Bearer {token}"},
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(asked, context=trusting, timeout=120)
        assert refused.value.code == refusal


@pytest.mark.slow
def test_a_node_whose_kubelet_stands_still_is_lost_and_comes_back(cluster: Cluster) -> None:
    """20 s until it is lost, by its grace period, and a few until it is back."""
    cluster.pause_kubelet("n2")
    wait("the other node is not lost", lambda: cluster.is_ready("n1"))
    cluster.resume_kubelet("n2")


@pytest.mark.slow
def test_a_killed_kubelets_containers_live_on_and_it_finds_them_again(cluster: Cluster) -> None:
    """20 s until the node is lost, by its grace period, and a few until it is back."""
    with a_sleeper(cluster, "n1"):
        (sleeper,) = sleepers()
        cluster.kill_kubelet("n1")
        assert sleepers() == [sleeper]
        cluster.resume_kubelet("n1")
        assert sleepers() == [sleeper]


@pytest.mark.slow
def test_a_lost_nodes_containers_end_and_its_pods_seem_to_run(cluster: Cluster) -> None:
    """20 s until the node is lost, by its grace period, and a few until it is back."""
    with a_sleeper(cluster, "n1") as namespace:
        cluster.lose_node("n1")
        assert not sleepers()
        phases = cluster.kubectl("get", "pods", "-n", namespace, "-o", "jsonpath={..status.phase}")
        assert phases == "Running"
        cluster.resume_kubelet("n1")


def test_the_api_server_can_be_away(cluster: Cluster) -> None:
    namespace = cluster.new_namespace()
    cluster.stop_api_server()
    with pytest.raises(subprocess.CalledProcessError) as refused:
        cluster.kubectl("get", "namespaces")
    assert "refused" in refused.value.stderr
    cluster.start_api_server()
    assert namespace in cluster.kubectl("get", "namespaces")


@contextmanager
def a_sleeper(cluster: Cluster, node: NodeName) -> Iterator[str]:
    """A pod that does nothing, running until the end of the block; its namespace. It stays on its
    node, however long that is lost."""
    namespace = cluster.new_namespace()
    forever = {"operator": "Exists", "effect": "NoExecute"}
    spec = {"nodeName": node, "tolerations": [forever]}
    cluster.apply(a_pod(namespace, "sleeper", f"exec sleep {SLEEP}", spec))
    try:
        cluster.kubectl("wait", "-n", namespace, "pod/sleeper", "--for=condition=Ready", PATIENTLY)
        wait("it sleeps", lambda: len(sleepers()) == 1)  # Ready is what its shell is before that
        yield namespace
    finally:
        cluster.kubectl("delete", "-n", namespace, "pod", "sleeper", PATIENTLY)


def wait_for_job(cluster: Cluster, namespace: str, name: str) -> str:
    """How a Job ended: Complete or Failed."""
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}"

    def ended() -> str:
        conditions = cluster.control_plane.request("GET", path)["status"].get("conditions", [])
        return next((c["type"] for c in conditions if c["type"] in ("Complete", "Failed")), "")

    wait(f"Job {name} has ended", lambda: bool(ended()))
    return ended()


def a_pod(
    namespace: str,
    name: str,
    script: str,
    spec: Mapping[str, Any],
    container: Mapping[str, Any] | None = None,
) -> Mapping[str, Any]:
    """A pod that runs a shell script, with the label app=<name>."""
    shell = {"name": "c", "image": BUSYBOX, "command": ["sh", "-c", script], **(container or {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [shell], **spec},
    }


def a_claim(namespace: str, name: str, storage_class: str | None = None) -> Mapping[str, Any]:
    """A claim to a volume that both nodes can use."""
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "1Mi"}},
    }
    if storage_class:
        spec["storageClassName"] = storage_class
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def a_gang(namespace: str) -> list[Mapping[str, Any]]:
    """An Indexed Job of two pods on different nodes, which wait for each other."""
    script = """
        me=$JOB_COMPLETION_INDEX; other=$((1 - me))
        (while true; do echo "I am $me" | nc -l -p 9000; done) &
        until nc -w 2 gang-$other.gang 9000 </dev/null | grep "I am $other"; do sleep 0.2; done
        server=kubernetes.default.svc.cluster.local
        ask() { printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 $server 443; }
        until ask | grep "HTTPS server"; do sleep 0.2; done
        touch /store/met-$me
        until test -e /store/met-$other; do sleep 0.2; done
    """
    labels = {"app": "gang"}
    apart = {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": {"matchLabels": labels}, "topologyKey": "kubernetes.io/hostname"}
            ]
        }
    }
    return [
        a_claim(namespace, "store"),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "gang", "namespace": namespace},
            "spec": {"clusterIP": "None", "selector": labels, "publishNotReadyAddresses": True},
        },
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "gang", "namespace": namespace},
            "spec": {
                "completionMode": "Indexed",
                "completions": 2,
                "parallelism": 2,
                "backoffLimit": 0,
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "subdomain": "gang",
                        "restartPolicy": "Never",
                        "terminationGracePeriodSeconds": 0,
                        "affinity": apart,
                        "volumes": [
                            {"name": "store", "persistentVolumeClaim": {"claimName": "store"}}
                        ],
                        "containers": [
                            {
                                "name": "c",
                                "image": BUSYBOX,
                                "command": ["sh", "-c", script],
                                "volumeMounts": [{"name": "store", "mountPath": "/store"}],
                            }
                        ],
                    },
                },
            },
        },
    ]
