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
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Self

import pytest

from tests.cluster import machine, network
from tests.cluster.cluster import NODES, Cluster
from tests.cluster.image_seed import BUSYBOX
from tests.cluster.lifetime import STATE, AlreadyRuns, remove_abandoned, running_cluster
from tests.cluster.node import cgroup
from tests.cluster.process import wait
from tests.cluster.programs import cluster_programs
from tests.controlplane import marked_processes
from tests.images.buildah import buildah

PATIENTLY = "--timeout=600s"
"""Of `kubectl wait`, for what takes seconds on an idle machine."""
pytestmark = pytest.mark.timeout(3600)  # the start of the cluster too, and unpacking the images

# A machine carries one cluster: tests that start one of their own come before the session's.


def test_a_user_who_is_not_root_reads_what_is_left_out_and_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(machine.LeftOut, match="are left out: nodes are made by root"):
        machine.make_ready()


def test_a_machine_without_debians_packages_reads_which_are_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(machine.LeftOut, match=r"runc, .* are missing, and only Debian's"):
        machine.make_ready()


@pytest.mark.slow
@pytest.mark.usefixtures("cluster_machine")
def test_the_command_tells_how_to_use_it_and_what_its_crash_leaves_is_removed_by_the_next() -> None:
    """A start with a running pod: 15 s."""
    remove_abandoned()  # what another crash has left is not this one's
    before = Traces.now()
    kubectl = cluster_programs()["kubectl"]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.cluster"],
        cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True,
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
        command.kill()
    left = Traces.now()
    assert left.processes
    assert left.sleepers
    assert left.mounts
    assert left.rules
    assert left.links
    assert left.cgroups
    remove_abandoned()
    assert Traces.now() == before


@pytest.mark.slow
def test_pods_on_two_nodes_meet_by_name_share_a_volume_and_reach_the_api_server(
    cluster: Cluster,
) -> None:
    """The start of the session's cluster (20 s), and 10 s."""
    namespace = cluster.new_namespace()
    cluster.apply(*a_gang(namespace))
    ended = wait_for_job(cluster, namespace, "gang")
    assert ended == "Complete", cluster.kubectl("logs", "-n", namespace, "-l", "app=gang")
    pods = json.loads(cluster.kubectl("get", "pods", "-n", namespace, "-o", "json"))["items"]
    assert {pod["spec"]["nodeName"] for pod in pods} == set(NODES)
    for index in (0, 1):
        said = cluster.kubectl(
            "logs", "-n", namespace, "-l", f"batch.kubernetes.io/job-completion-index={index}"
        )
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
        buildah("copy", "--quiet", container, "/usr/bin/busybox", "/bin/sh")
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


def test_a_second_cluster_is_refused_and_the_first_one_named(cluster: Cluster) -> None:
    with pytest.raises(AlreadyRuns, match=f"started by process {os.getpid()}"), running_cluster():
        pass
    assert cluster.is_ready("n1")


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
    assert cluster.is_ready("n1")
    cluster.resume_kubelet("n2")


@pytest.mark.slow
def test_a_killed_kubelets_containers_live_on_and_it_finds_them_again(cluster: Cluster) -> None:
    """20 s until the node is lost, by its grace period, and a few until it is back."""
    namespace = cluster.new_namespace()
    run_a_sleeper(cluster, namespace, "n1")
    (sleeper,) = sleepers()
    cluster.kill_kubelet("n1")
    assert sleepers() == [sleeper]
    cluster.resume_kubelet("n1")
    assert sleepers() == [sleeper]


@pytest.mark.slow
def test_a_lost_nodes_containers_end_and_its_pods_seem_to_run(cluster: Cluster) -> None:
    """20 s until the node is lost, by its grace period, and a few until it is back."""
    namespace = cluster.new_namespace()
    run_a_sleeper(cluster, namespace, "n1")
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


@dataclass(frozen=True)
class Traces:
    """What there is of a cluster on this machine, and how the machine is set."""

    processes: Sequence[int]
    sleepers: Sequence[int]
    mounts: Sequence[str]
    rules: Sequence[str]
    links: Sequence[str]
    cgroups: Sequence[Path]
    sockets: Sequence[Path]
    folders: Sequence[Path]
    settings: Sequence[str]

    @classmethod
    def now(cls) -> Self:
        """As they are."""
        mounts = Path("/proc/self/mounts").read_text().split()
        rules = [
            line
            for program in ("iptables-save", "ip6tables-save")
            for line in output(program).splitlines()
            if "KUBE-" in line or network.DEVICE in line
        ]
        links = [link["ifname"] for link in json.loads(output("ip", "-json", "link"))]
        roots = Path("/sys/fs/cgroup")
        return cls(
            marked_processes.alive(str(STATE)),
            sleepers(),
            [mount for mount in mounts if mount.startswith(f"{STATE}/")],
            rules,
            [link for link in links if link.startswith((network.DEVICE, "veth"))],
            [found for node in NODES for found in roots.glob(f"**/{cgroup(node)}")],
            list(Path("/run/containerd/s").glob("*")),
            [*STATE.glob("running"), *Path("/var/lib/cni/results").glob("*")],
            [
                Path("/proc/sys", name).read_text().strip()
                for name in ("net/ipv4/ip_forward", "vm/overcommit_memory", "kernel/panic")
            ],
        )


SLEEP = "1234567"
"""Seconds that a sleeper sleeps, by which its process is known."""


def run_a_sleeper(cluster: Cluster, namespace: str, node: str = "n1") -> None:
    """A pod that does nothing, running; it stays on its node, however long that is lost."""
    forever = {"operator": "Exists", "effect": "NoExecute"}
    spec = {"nodeName": node, "tolerations": [forever]}
    cluster.apply(a_pod(namespace, "sleeper", f"exec sleep {SLEEP}", spec))
    cluster.kubectl("wait", "-n", namespace, "pod/sleeper", "--for=condition=Ready", PATIENTLY)


def sleepers() -> list[int]:
    """Process numbers of the containers of sleepers, as this machine sees them."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError):
                if SLEEP.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def output(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


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
        printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc kubernetes.default.svc.cluster.local 443
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
