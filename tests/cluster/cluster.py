"""A whole Kubernetes cluster inside one Linux machine: a control plane, two nodes, Services, DNS.

Everything that it writes lies in one folder. Its processes carry that folder as their mark
(`tests.controlplane.marked_processes`), its containers are in its nodes' cgroups, its addresses are
on its own device: so whoever knows the folder can find and end all of it (`lifetime.py`).
"""

import json
import subprocess
import urllib.error
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tests.cluster import cgroups
from tests.cluster.image_seed import ImageSeed
from tests.cluster.images import import_from_buildah
from tests.cluster.network import CONTROL_PLANE_ADDRESS
from tests.cluster.node import Node
from tests.cluster.process import ahead_of_others, wait
from tests.cluster.services import DNS_RIGHTS, USERS, ready, services
from tests.cluster.volumes import Volumes
from tests.controlplane.control_plane import ControlPlane, prepared

NodeName = Literal["n1", "n2"]
NODES: Sequence[NodeName] = ("n1", "n2")
SECONDS_UNTIL_LOST = 20
"""A node that says nothing for so long is NotReady. (Kubernetes: 50; a test should not wait so
long, and a busy machine of 2 cores must not lose its nodes.)"""
SECONDS_TOLERATED = 15
"""Pods of a lost node are deleted after so long. (Kubernetes: 300.)"""


@dataclass(frozen=True)
class Cluster:
    """A running cluster. Its methods return when what they are called for holds."""

    folder: Path
    """Everything that it writes."""
    control_plane: ControlPlane
    nodes: Mapping[NodeName, Node]
    programs: Mapping[str, Path]
    seconds_to_load: float = 0.0
    """In which images were brought from buildah's store, as far as they were new here."""
    seconds_to_start: float = 0.0
    """From images that are here to pods that can be made."""
    images_unpacked: Sequence[str] = ()
    """Those of them that were new here, at least in a layer."""

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.control_plane.kubeconfig

    def kubectl(self, *arguments: str, kubeconfig: Path | None = None, stdin: str = "") -> str:
        """What kubectl prints; raises CalledProcessError, with its stderr, where it fails.

        `cluster.kubectl("exec", "-n", namespace, pod, "--", "ls", "/store")` runs a command in a
        container.
        """
        return self.control_plane.kubectl(*arguments, kubeconfig=kubeconfig, stdin=stdin)

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Apply objects, given as what their YAML would say."""
        items = {"apiVersion": "v1", "kind": "List", "items": objects}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(items))

    def new_namespace(self, prefix: str = "test") -> str:
        """Name of a fresh namespace in which pods can be made."""
        return self.control_plane.new_namespace(prefix)

    def is_ready(self, node: NodeName) -> bool:
        """Whether Kubernetes knows the node and takes it to be ready."""
        return _is_ready(self._node(node))

    def takes_pods(self, node: NodeName) -> bool:
        """Whether pods can be put on it: it is ready, and has no taint of the time when it was not,
        which goes a moment later."""
        found = self._node(node)
        return _is_ready(found) and not found["spec"].get("taints")

    def pause_kubelet(self, node: NodeName) -> None:
        """SIGSTOP to a node's kubelet; returns when the node is NotReady (20 s).

        Containers go on. Pods are deleted after 15 s more, and stay Terminating.
        """
        self.nodes[node].kubelet.pause()
        wait(f"{node} is NotReady", lambda: not self.is_ready(node))

    def kill_kubelet(self, node: NodeName) -> None:
        """SIGKILL to a node's kubelet; returns when the node is NotReady (20 s).

        Containers go on. Pods are deleted after 15 s more, and stay Terminating.
        """
        self.nodes[node].kubelet.kill()
        wait(f"{node} is NotReady", lambda: not self.is_ready(node))

    def lose_node(self, node: NodeName) -> None:
        """SIGKILL to a node's kubelet and to all of its containers, as when a machine loses power;
        returns when the node is NotReady (20 s).

        Its pods are Running for whoever asks. They are deleted after 15 s more, and stay
        Terminating.
        """
        self.nodes[node].kubelet.kill()
        cgroups.kill(self.nodes[node].cgroup)
        wait(f"{node} is NotReady", lambda: not self.is_ready(node))

    def resume_kubelet(self, node: NodeName) -> None:
        """Let a paused kubelet go on, or start a killed one; returns when the node takes pods."""
        kubelet = self.nodes[node].kubelet
        if kubelet.runs:
            kubelet.go_on()
        else:
            self.nodes[node].start_kubelet()
        wait(f"{node} takes pods", lambda: self.takes_pods(node), [kubelet])

    def stop_api_server(self) -> None:
        """End the API server at once; returns when nothing answers any more."""
        self.control_plane.stop("kube-apiserver")

    def start_api_server(self) -> None:
        """Start it again with all its objects; returns when it is ready, both nodes have said that
        they are, and both take pods."""
        started = datetime.now(UTC)
        with ahead_of_others():
            self.control_plane.start("kube-apiserver")
        wait(
            "both nodes are heard from",
            lambda: all(self._last_heard_from(name) > started for name in self.nodes),
        )
        self._wait_for_nodes()

    def load_images(self, *names: str) -> None:
        """Bring images of buildah's local store to both nodes; only layers that they lack move.

        For images that change while the cluster runs; those given at its start cost less.
        """
        with ThreadPoolExecutor() as pool:
            for done in [
                pool.submit(import_from_buildah, node.containerd, names)
                for node in self.nodes.values()
            ]:
                done.result()

    def volume_folder(self, namespace: str, claim: str) -> Path:
        """The folder of this machine that a claim's volume is; returns when the claim is bound.

        Every claim that names no storage class gets a volume, ReadWriteMany, of a pool of 40.
        """
        path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim}"

        def volume() -> str:
            found = self.control_plane.request("GET", path)
            bound = found["status"].get("phase") == "Bound"
            return str(found["spec"]["volumeName"]) if bound else ""

        wait(f"claim {claim} is bound", lambda: bool(volume()))
        return self._volumes.folder / volume()

    def small_volume(self, name: str, mebibytes: int) -> Path:
        """A volume that can be filled: a file system of that size; returns its folder.

        The claim that names the storage class `name` gets it, ReadWriteMany or ReadWriteOnce.
        """
        self.apply(*self._volumes.small(name, mebibytes))
        return self._volumes.folder / name

    def start(self, seed: ImageSeed) -> None:
        """Start everything; returns when pods can be made, or raises NotReady with a log's end."""
        for node in self.nodes.values():
            seed.give(node.containerd)
        with ahead_of_others():
            self.control_plane.start_all()
        self.apply(*DNS_RIGHTS, *self._volumes.pool())
        beside = services(self.folder / "services", self.programs, self.control_plane, "n1")
        for process in beside:
            process.start()
        for node in self.nodes.values():
            node.start()
        self._wait_for_nodes()
        wait("Services work", ready, beside)

    def _node(self, node: NodeName) -> Any:
        """The object; empty where Kubernetes does not know the node."""
        try:
            return self.control_plane.request("GET", f"/api/v1/nodes/{node}")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return {}
            raise

    def _last_heard_from(self, node: str) -> datetime:
        path = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node}"
        return datetime.fromisoformat(
            self.control_plane.request("GET", path)["spec"]["renewTime"].replace("Z", "+00:00")
        )

    def _wait_for_nodes(self) -> None:
        for name, node in self.nodes.items():
            wait(
                f"{name} takes pods",
                partial(self.takes_pods, name),
                [node.kubelet, node.containerd.process],
            )

    @property
    def _volumes(self) -> Volumes:
        return Volumes(self.folder / "volumes")


def prepared_cluster(folder: Path, programs: Mapping[str, Path]) -> Cluster:
    """A cluster in an empty folder, not started yet."""
    certificate, key = _client_certificate(folder)
    control_plane = prepared(
        folder / "control-plane",
        programs,
        {
            "kube-apiserver": [
                "--authorization-mode=Node",  # beside RBAC
                "--enable-admission-plugins=NodeRestriction",
                "--endpoint-reconciler-type=lease",
                "--kubelet-preferred-address-types=InternalIP",
                f"--kubelet-client-certificate={certificate}",
                f"--kubelet-client-key={key}",
                f"--default-not-ready-toleration-seconds={SECONDS_TOLERATED}",
                f"--default-unreachable-toleration-seconds={SECONDS_TOLERATED}",
            ],
            "kube-controller-manager": [
                f"--node-monitor-grace-period={SECONDS_UNTIL_LOST}s",
                "--node-monitor-period=2s",
            ],
        },
        CONTROL_PLANE_ADDRESS,
        {**USERS, **{f"system:node:{name}": "system:nodes" for name in NODES}},
    )
    control_plane.folder.mkdir()
    return Cluster(
        folder,
        control_plane,
        {
            name: Node(
                name,
                number,
                folder / name,
                programs["kubelet"],
                control_plane.kubeconfig_of(f"system:node:{name}"),
                certificate,
            )
            for number, name in enumerate(NODES, start=1)
        },
        programs,
    )


def _is_ready(node: Any) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _client_certificate(folder: Path) -> tuple[Path, Path]:
    """Certificate and key by which kubelets know the API server; it vouches for itself."""
    certificate, key = folder / "to-kubelets.crt", folder / "to-kubelets.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "30", "-subj", "/O=system:masters/CN=kube-apiserver",
         "-addext", "extendedKeyUsage=clientAuth", "-out", certificate, "-keyout", key],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return certificate, key
