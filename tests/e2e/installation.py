"""The chart, installed with helm on the cluster in a box, and a volume with data."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acereason_operator.cluster.labels import RUN

from tests.chart.rendered_chart import CHART, RELEASE, Object, Values, helm, rendered
from tests.cluster.cluster import Cluster, NodeName
from tests.cluster.process import ahead_of_others
from tests.e2e.network_flows import NAMESPACE_NAME
from tests.waiting import wait_for

EXAMPLES = Path(__file__).parents[2] / "examples"
CLAIM = "acereason"
ROWS = 3000
"""Rows of quickstart/data/some.jsonl: enough for two short stages, and read in no time."""
MONITORING = "monitoring"
"""Namespace from which a Prometheus would scrape."""
REPLICAS = 2
"""Of the operator, by the chart's default."""
PATIENCE = 900.0
"""Seconds for what takes some 20 on an idle machine."""
PATIENTLY = ("--wait", "--timeout", f"{PATIENCE:.0f}s")
"""Flags of helm."""
SETTINGS = {
    # A cluster of two nodes on one machine says soon what there is to say.
    "settling": "5s",
    "firstBackoff": "2s",
    "progressSeconds": 5,
}
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@dataclass(frozen=True)
class Installation:
    """A release, the namespace in which runs are made, and their volume."""

    cluster: Cluster
    images: Mapping[str, str]
    """Reference of each image by its part."""
    system: str
    """The release's namespace."""
    namespace: str
    """The runs'."""
    began: float
    """When `helm install` was called, by the monotonic clock."""
    published: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    """Names of artifacts that were seen, by namespace and claim: none may ever be lost."""

    @property
    def store(self) -> Path:
        """The runs' volume, as a folder of this machine."""
        return self.cluster.volume_folder(self.namespace, CLAIM)

    def kubectl(self, *words: str, stdin: str = "") -> str:
        """What kubectl prints, in the runs' namespace."""
        return self.cluster.kubectl("--namespace", self.namespace, *words, stdin=stdin)

    def kubectl_beside(self, out: Path, *words: str) -> "subprocess.Popen[bytes]":
        """kubectl in the runs' namespace, while this goes on; what it prints is added to a file."""
        control_plane = self.cluster.control_plane
        kubectl, kubeconfig = control_plane.programs["kubectl"], control_plane.kubeconfig
        environment = os.environ | {"KUBECACHEDIR": str(control_plane.folder / "kubectl")}
        with out.open("ab") as file:
            return subprocess.Popen(
                [kubectl, "--kubeconfig", kubeconfig, "--namespace", self.namespace, *words],
                env=environment,
                stdout=file,
            )

    def get(self, *words: str) -> Any:
        """What `kubectl get` finds, as JSON."""
        return json.loads(self.kubectl("get", "-o", "json", *words))

    def helm(self, *words: str | Path, values: Values | None = None) -> str:
        """What helm prints, logs of hooks on its stderr included; it must succeed."""
        where = ("--kubeconfig", self.cluster.kubeconfig, "--namespace", self.system)
        done = helm(*words, *where, values=values)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def delete_runs(self, *names: str) -> None:
        """Delete these runs, or all where none is named; returns when no pod of theirs is left."""
        label = f"{RUN} in ({','.join(names)})" if names else RUN
        words = ("get", "pods", "-l", label, "-o", "name")
        self.kubectl("delete", "arr", *(names or ("--all",)), f"--timeout={PATIENCE:.0f}s")
        wait_for(
            lambda: not self.kubectl(*words),
            "no pod of a deleted run to be left",
            lambda: self.kubectl(*words),
            PATIENCE,
            every=0.5,
        )

    def install(self) -> None:
        """`helm install`, and wait until both replicas and the verifier are ready."""
        self._helm_and_wait("install", CHART, {})

    def install_older(self, chart: Path) -> None:
        """The same with another chart."""
        self._helm_and_wait("install", chart, {})

    def upgrade(self, values: Values) -> None:
        """`helm upgrade` to this chart and other values, until the new pods are ready."""
        self._helm_and_wait("upgrade", CHART, values)

    def rollback(self, revision: int) -> None:
        """`helm rollback`, until the older pods are ready."""
        self.helm("rollback", RELEASE, str(revision), *PATIENTLY)

    def uninstall(self) -> None:
        """`helm uninstall`, until no pod of the release is left."""
        self.helm("uninstall", RELEASE, *PATIENTLY)
        label = f"app.kubernetes.io/instance={RELEASE}"
        words = ("get", "pods", "-n", self.system, "-l", label, "-o", "name")
        wait_for(
            lambda: not self.cluster.kubectl(*words),
            "no pod of the release to be left",
            lambda: self.cluster.kubectl(*words),
            PATIENCE,
            every=0.5,
        )

    def _helm_and_wait(self, verb: str, chart: Path, values: Values) -> None:
        self.helm(verb, RELEASE, chart, *PATIENTLY, values=self.values(values))

    def claim(self, name: str, storage_class: str = "") -> Path:
        """A claim in the runs' namespace, and its volume's folder."""
        spec: dict[str, Any] = {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "1Mi"}},
        }
        if storage_class:
            spec["storageClassName"] = storage_class
        meta = {"name": name, "namespace": self.namespace}
        self.cluster.apply(
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": spec}
        )
        return self.cluster.volume_folder(self.namespace, name)

    def small_claim(self, name: str, mebibytes: int) -> Path:
        """A claim whose volume can be filled, with the quickstart's data."""
        folder = self.cluster.small_volume(name, mebibytes)
        self.claim(name, storage_class=name)
        put_data(folder)
        return folder

    def operator_pods(self) -> dict[str, Any]:
        """The operator's pods by name."""
        label = "app.kubernetes.io/component=operator"
        found = json.loads(
            self.cluster.kubectl("get", "pods", "-n", self.system, "-l", label, "-o", "json")
        )
        return {pod["metadata"]["name"]: pod for pod in found["items"]}

    def lease_holder(self) -> str:
        """Which process of the operator leads."""
        name = f"{RELEASE}-acereason-operator"
        lease = self.cluster.kubectl("get", "lease", "-n", self.system, name, "-o", "json")
        return str(json.loads(lease)["spec"]["holderIdentity"])

    def leader(self) -> str:
        """Name of the operator's pod that leads."""
        return self.lease_holder().rpartition("_")[0]

    def told(self) -> str:
        """What a person would look at first."""
        return self.cluster.kubectl("get", "pods", "-n", self.system, "-o", "wide")

    def restarts(self) -> dict[str, int]:
        """How often each of the operator's containers was started again, by pod."""
        return {
            name: sum(c["restartCount"] for c in pod["status"].get("containerStatuses", ()))
            for name, pod in self.operator_pods().items()
        }

    @property
    def api_server_port(self) -> int:
        """Where the API server listens."""
        return self.cluster.control_plane.ports["kube-apiserver"]

    def kill(self, pod: str) -> None:
        """SIGKILL to the program of one of the operator's pods, as the kernel would send it."""
        found = processes(self.operator_pods()[pod], "acereason_operator.runtime")
        assert found, f"no process of {pod} is found"
        for pid in found:
            os.kill(pid, signal.SIGKILL)

    @contextmanager
    def without_node(self, node: NodeName) -> Iterator[None]:
        """A block during which a node is lost, with all that ran on it."""
        try:
            self.cluster.lose_node(node)
            yield
        finally:
            self.cluster.resume_kubelet(node)

    @contextmanager
    def without_kubelet(self, node: NodeName) -> Iterator[None]:
        """A block during which a node's kubelet is gone, and all that runs there goes on."""
        try:
            self.cluster.kill_kubelet(node)
            yield
        finally:
            self.cluster.resume_kubelet(node)

    @contextmanager
    def without_api_server(self) -> Iterator[None]:
        """A block during which nobody answers; returns as soon as somebody does again."""
        try:
            self.cluster.stop_api_server()
            yield
        finally:
            with ahead_of_others():
                self.cluster.control_plane.start("kube-apiserver")

    def monitored_chart(self) -> list[Object]:
        """What the chart would make beside the rest where there is a Prometheus Operator."""
        values = self.values({"monitoring": {"create": "always"}})
        return rendered(values, release=RELEASE, namespace=self.system)

    def values(self, values: Values) -> Values:
        """Values of the release: the images that were built, one small verifier."""
        parts = {part: _image(name) for part, name in self.images.items()}
        return {
            "namespaces": [self.namespace],
            # Behind its Service the API server listens here, and policies judge that port.
            "networkPolicies": {
                "apiServer": {"ports": [443, self.api_server_port]},
                "prometheus": [
                    {"namespaceSelector": {"matchLabels": {NAMESPACE_NAME: MONITORING}}}
                ],
            },
            "images": {"registry": "localhost", "pullPolicy": "Never", **parts},
            "settings": SETTINGS,
            "operator": {"resources": {"requests": {"cpu": "50m", "memory": "128Mi"}}},
            "verifier": {
                "enabled": True,
                "replicas": 1,
                # The cluster has no metrics server that a HorizontalPodAutoscaler could ask.
                "autoscaling": {"enabled": False},
                "settings": {"codeWorkers": 1},
                "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}},
            },
            **values,
        }


def new_namespace(cluster: Cluster, prefix: str) -> str:
    """Name of a fresh namespace for pods of the restricted standard."""
    name = cluster.new_namespace(prefix)
    words = [f"{label}={value}" for label, value in RESTRICTED.items()]
    cluster.kubectl("label", "namespace", name, *words)
    return name


def installed(cluster: Cluster, images: Mapping[str, str]) -> Installation:
    """Install the chart, and put the quickstart's data on a volume, as its file says."""
    system, namespace = new_namespace(cluster, "acereason"), new_namespace(cluster, "research")
    installation = Installation(cluster, images, system, namespace, time.monotonic())
    put_data(installation.claim(CLAIM))
    installation.install()
    return installation


def put_data(volume: Path) -> None:
    """The folder examples/quickstart with its data, and a shorter file of rows."""
    quickstart = volume / "quickstart"
    data = quickstart / "data"
    made = EXAMPLES / "quickstart" / "data"
    if not _is_made(made / ".made"):
        words = [sys.executable, "-m", "examples.quickstart.make_data", "--out", str(made)]
        subprocess.run(words, cwd=EXAMPLES.parent, check=True)
        (made / ".made").touch()
    shutil.copytree(made, data)
    shutil.copy(EXAMPLES / "quickstart" / "model.json", quickstart)
    rows = (data / "sft.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (data / "some.jsonl").write_text("".join(rows[:ROWS]), encoding="utf-8")


def _is_made(mark: Path) -> bool:
    """Whether the data is of these programs, as the Makefile judges it."""
    programs = [*EXAMPLES.glob("quickstart/*.py"), *EXAMPLES.glob("tasks/*.py")]
    changed = max(program.stat().st_mtime for program in programs)
    return mark.exists() and mark.stat().st_mtime >= changed


def wait_for_operator(installation: Installation, besides: Collection[str] = ()) -> None:
    """Until both replicas are ready, no older pod is left, and one of them leads.

    besides: pods that are to be gone.
    """

    def settled() -> bool:
        pods = installation.operator_pods()
        return (
            len(pods) == REPLICAS
            and all(map(_is_ready, pods.values()))
            and not pods.keys() & set(besides)
            and installation.leader() in pods
        )

    what = "both replicas to be ready and one to lead"
    wait_for(settled, what, installation.told, PATIENCE, every=0.5)


def processes(pod: Any, module: str) -> list[int]:
    """The processes of a pod that run a Python module, by their number on this machine."""
    uid, words = pod["metadata"]["uid"], f"\0-m\0{module}\0"
    return [
        int(process.name)
        for process in Path("/proc").iterdir()
        if process.name.isdigit()
        and uid in _text(process / "cgroup")
        and words in _text(process / "cmdline")
    ]


def _is_ready(pod: Any) -> bool:
    conditions = {c["type"]: c["status"] for c in pod["status"].get("conditions", ())}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def _image(reference: str) -> dict[str, str]:
    name, _, tag = reference.rpartition("/")[2].partition(":")
    return {"name": name, "tag": tag}


def _text(file: Path) -> str:
    """What a file of /proc says; nothing once its process is gone."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
