"""A node of the cluster: a containerd, a kubelet, a cgroup, and addresses."""

import json
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import cgroups, network
from tests.cluster.containerd import Containerd
from tests.cluster.process import Process, ahead_of_others


@dataclass(frozen=True)
class Node:
    """One node, in a folder of its own."""

    name: str
    """As Kubernetes calls it."""
    number: int
    """Of its addresses, from 1."""
    folder: Path
    kubelet_program: Path
    kubeconfig: Path
    """Of the user system:node:<name>."""
    client_ca: Path
    """Certificate by which the kubelet knows the API server."""

    @property
    def address(self) -> str:
        """Where its kubelet listens."""
        return network.address(self.number)

    @property
    def cgroup(self) -> str:
        """Name of the cgroup that all its pods are in."""
        return cgroup(self.name)

    @property
    def containerd(self) -> Containerd:
        """What runs its containers; they live on while it is dead."""
        return Containerd(self.folder / "containerd", self.name, network.subnet(self.number))

    @property
    def kubelet(self) -> Process:
        """What carries out what the API server says; pods live on while it is dead."""
        return Process(
            f"kubelet of {self.name}",
            f"{self.folder}/kubelet",
            [
                self.kubelet_program,
                f"--config={self.folder / 'kubelet.json'}",
                f"--root-dir={self.folder / 'kubelet'}",
                f"--cert-dir={self.folder / 'certificates'}",
                f"--kubeconfig={self.kubeconfig}",
                f"--hostname-override={self.name}",
                f"--node-ip={self.address}",
            ],
            self.folder / "kubelet.log",
        )

    def start(self) -> None:
        """Start both; the node is Ready some seconds later."""
        cgroups.make(self.cgroup)
        self.containerd.start()
        (self.folder / "kubelet.json").write_text(json.dumps(self._settings()), encoding="utf-8")
        self.containerd.wait_until_ready()
        self.start_kubelet()

    def start_kubelet(self) -> None:
        """Start it; containers are not its children, and share the cores as all others do."""
        with ahead_of_others():
            self.kubelet.start()

    def _settings(self) -> object:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self.address,
            "healthzBindAddress": self.address,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self.client_ca)},
            },
            "authorization": {"mode": "Webhook"},
            "containerRuntimeEndpoint": f"unix://{self.containerd.socket}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.cgroup}",
            "failCgroupV1": False,
            "failSwapOn": False,
            # Without the right to change scores and some settings of the kernel it would give up.
            "featureGates": {"KubeletInUserNamespace": True},
            "oomScoreAdj": 0,
            "clusterDNS": [network.CONTROL_PLANE_ADDRESS],
            "clusterDomain": "cluster.local",
            "podLogsDir": str(self.folder / "logs"),
            "volumePluginDir": str(self.folder / "plugins"),
            "makeIPTablesUtilChains": False,
            # A developer's disk is often nearly full; images are not the node's to remove.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {
                # The machine's: a hungry neighbour is no reason to end a pod.
                "memory.available": "10Mi",
                "nodefs.available": "1%",
                "nodefs.inodesFree": "1%",
                "imagefs.available": "1%",
            },
            # A lost node is noticed in seconds (with the controller manager's grace period).
            "nodeLeaseDurationSeconds": 8,
            "nodeStatusUpdateFrequency": "4s",
            "maxPods": 60,
        }


def cgroup(node: str) -> str:
    """Name of a node's cgroup: its kubelet makes all others below."""
    return f"{network.DEVICE}-{node}"
