"""A containerd of our own: its root, its socket, its network configuration, its images."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import network
from tests.cluster.process import Process, wait

PAUSE = "localhost/acereason-pause:1"
"""Image that holds a pod's namespaces."""
SERVES_KUBELETS = "Start streaming server"
"""The last that it says before kubelets are served: one that asks sooner is refused, and ends."""


@dataclass(frozen=True)
class Containerd:
    """A containerd that keeps everything in one folder."""

    folder: Path
    name: str
    """Of its node; its network is called so."""
    subnet: str
    """Addresses of its pods; "" where it only keeps images, and knows no pods."""

    @property
    def process(self) -> Process:
        """The daemon; what starts containers for it carries its mark too."""
        return Process(
            f"containerd of {self.name}",
            f"{self.folder}/daemon",
            ["/usr/bin/containerd", "--config", self.folder / "config.toml"],
            self.folder / "containerd.log",
        )

    @property
    def socket(self) -> Path:
        """Where the kubelet asks for containers."""
        return self.folder / "containerd.sock"

    @property
    def root(self) -> Path:
        """What would outlive a restart of the machine: images, snapshots, databases."""
        return self.folder / "root"

    @property
    def blobs(self) -> Path:
        """Folder with the images' blobs, each named by its sha256."""
        return self.root / "io.containerd.content.v1.content" / "blobs" / "sha256"

    @property
    def snapshots(self) -> Path:
        """Folder of the unpacked layers: <number>/fs."""
        return self.root / "io.containerd.snapshotter.v1.overlayfs" / "snapshots"

    def start(self) -> None:
        """Write its configuration and start it; `wait_until_ready` follows."""
        networks = self.folder / "networks"
        networks.mkdir(parents=True, exist_ok=True)
        network_of_pods = json.dumps(self._network())
        (networks / "pods.conflist").write_text(network_of_pods, encoding="utf-8")
        (self.folder / "config.toml").write_text(self._configuration(), encoding="utf-8")
        self.process.start()

    def wait_until_ready(self) -> None:
        """Return when it answers, kubelets too; NotReady with its log where it does not."""
        wait(f"{self.process.name} answers", self._answers, [self.process])

    def ctr(self, *arguments: str) -> str:
        """What containerd's own command prints, in the namespace of Kubernetes."""
        return subprocess.run(
            self.ctr_command(*arguments), capture_output=True, text=True, check=True
        ).stdout

    def ctr_command(self, *arguments: str) -> Sequence[str]:
        """The command line of `ctr`."""
        return ["ctr", "--address", str(self.socket), "--namespace", "k8s.io", *arguments]

    def _answers(self) -> bool:
        asked = subprocess.run(self.ctr_command("version"), capture_output=True, check=False)
        log = self.process.log.read_text(encoding="utf-8", errors="replace")
        return asked.returncode == 0 and (not self.subnet or SERVES_KUBELETS in log)

    def _network(self) -> object:
        return {
            "cniVersion": "0.4.0",
            "name": f"{network.DEVICE}-{self.name}",
            "plugins": [
                {
                    "type": "ptp",
                    "ipMasq": False,  # one rule does it for all
                    "ipam": {
                        "type": "host-local",
                        "dataDir": str(self.folder / "addresses"),
                        "ranges": [[{"subnet": self.subnet}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                }
            ],
        }

    def _configuration(self) -> str:
        unused = ["io.containerd.internal.v1.opt", "io.containerd.internal.v1.restart"]
        if not self.subnet:
            # It would also refer to each image by its number, and so keep what has no name.
            unused.append("io.containerd.grpc.v1.cri")
        quoted = {
            "root": self.root,
            "state": self.folder / "state",
            "socket": self.socket,
            "pause": PAUSE,
            "networks": self.folder / "networks",
            "runc": self.folder / "runc",
        }
        values = {name: json.dumps(str(value)) for name, value in quoted.items()}
        return _CONFIGURATION.format_map({**values, "unused": json.dumps(unused)})


# restrict_oom_score_adj: a container's root may lack the right to lower the score, and then no pod
# starts. Two of the unused plugins would make folders outside ours. A collection of garbage (one
# comes soon after a start, or after anything is deleted) takes blobs that were brought in while no
# image refers to them yet, so none comes by itself: clusters are short-lived, and the seed asks for
# its own.
_CONFIGURATION = """\
version = 2
root = {root}
state = {state}
disabled_plugins = {unused}

[debug]
level = "info"

[grpc]
address = {socket}

[plugins."io.containerd.gc.v1.scheduler"]
startup_delay = "0s"
mutation_threshold = 0
deletion_threshold = 1000000

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = {pause}
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = {networks}

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = {runc}
"""


def remove_dead_sockets() -> None:
    """Remove the sockets of killed shims: their folder is fixed, and shared by all containerds."""
    bound = Path("/proc/net/unix").read_text()
    for socket in Path("/run/containerd/s").glob("*"):
        if str(socket) not in bound:
            socket.unlink()


def remove_cached_results(folder: Path) -> None:
    """Remove what the network library noted, in its fixed folder, of pods whose containerd kept
    everything below `folder`."""
    for result in Path("/var/lib/cni/results").glob("*"):
        if f"{folder}/" in result.read_text():
            result.unlink()
