"""An installation from first to last, with helm on a real API server. No pod runs: what the kubelet
would start is started here, with the account and the variables that the chart gives it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.helm_program import helm_program
from tests.chart.monitor_definitions import monitor_definitions
from tests.chart.rendered_chart import CHART, RELEASE, Values, environment, one, with_least
from tests.controlplane.control_plane import ControlPlane
from tests.controlplane.lifetimes import private_control_plane
from tests.waiting import wait_for

CRD = "acereasonruns.acereason.dev"
OLDER_FILES, COMMIT = Path(__file__).with_name("older"), "5db1c14"
OLDER = OLDER_FILES / f"acereason-operator-0.1.0-{COMMIT}.tgz"
"""The chart that people upgrade from, as it was."""
FINISHED = json.loads((OLDER_FILES / f"finished-run-{COMMIT}.json").read_text())
"""A run that the operator of that time has finished."""
PATIENCE = 900
"""Seconds for what takes some 5 on an idle machine."""
MINE, DONE, TESTED = "mine", FINISHED["metadata"]["name"], f"test-{RELEASE}"
"""Names of a person's runs, and of the one that `helm test` makes."""

OF_A_RELEASE = (
    "deployments,services,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings,"
    "networkpolicies,poddisruptionbudgets,horizontalpodautoscalers,configmaps,podmonitors,"
    "prometheusrules"
)

OF_THE_VERIFIER = (
    *("Deployment", "Service", "ServiceAccount", "NetworkPolicy", "PodDisruptionBudget"),
    *("HorizontalPodAutoscaler", "PodMonitor"),
)


@dataclass(frozen=True)
class Cluster:
    """A control plane, helm beside it, and the release's namespace."""

    control_plane: ControlPlane
    namespace: str
    home: Path
    """Where helm and kubectl keep what they remember."""

    def command(self, *words: str | Path) -> list[str | Path]:
        """A helm command on this cluster."""
        where = ("--kubeconfig", self.control_plane.kubeconfig, "--namespace", self.namespace)
        return [helm_program(), *words, *where]

    @property
    def environ(self) -> dict[str, str]:
        """Of helm."""
        return os.environ | {"HELM_CACHE_HOME": str(self.home), "KUBECACHEDIR": str(self.home)}

    def helm(self, *words: str | Path, values: Values | None = None) -> str:
        """What helm prints; it must succeed."""
        given = () if values is None else ("--values", "-")
        done = subprocess.run(
            self.command(*words, *given),
            input=None if values is None else json.dumps(with_least(values)),
            env=self.environ, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def get(self, kind: str, name: str) -> Any:
        """An object of the release's namespace; None where it is not there."""
        place = ("get", "--namespace", self.namespace, "-o", "json", "--ignore-not-found")
        return json.loads(self.control_plane.kubectl(*place, kind, name) or "null")

    def items(self, kinds: str, *words: str) -> Any:
        """All objects of some kinds in the release's namespace, unless words say another."""
        place = ("get", "--namespace", self.namespace, "-o", "json")
        return json.loads(self.control_plane.kubectl(*place, kinds, *words))["items"]

    def names(self) -> set[str]:
        """kind/name of all that is of the release, in every namespace."""
        label = f"app.kubernetes.io/instance={RELEASE}"
        found = self.items(OF_A_RELEASE, "--all-namespaces", "-l", label)
        return {f"{body['kind']}/{body['metadata']['name']}" for body in found}

    def deployment(self) -> Any:
        """The operator's."""
        return self.get("deployment", f"{RELEASE}-acereason-operator")

    def columns(self) -> list[str]:
        """What `kubectl get` shows of runs: a part of their definition."""
        (version,) = self.get("crd", CRD)["spec"]["versions"]
        return [column["name"] for column in version["additionalPrinterColumns"]]

    def wait_for_definition(self) -> None:
        """Until runs can be made."""
        established(self.control_plane, CRD)


def established(control_plane: ControlPlane, definition: str) -> None:
    """Wait until objects of a definition can be made."""
    control_plane.kubectl(
        "wait", "--for=condition=Established", f"crd/{definition}", f"--timeout={PATIENCE}s"
    )


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster with Prometheus Operator's kinds, and in which nobody has heard of runs."""
    with private_control_plane() as control_plane:
        control_plane.kubectl("delete", "crd", CRD)
        for definition in monitor_definitions():
            control_plane.kubectl("create", "-f", "-", stdin=json.dumps(definition))
            established(control_plane, definition["metadata"]["name"])
        yield Cluster(control_plane, control_plane.new_namespace("home"), tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_an_installation_from_first_to_last(cluster: Cluster, tmp_path: Path) -> None:
    """35 s (a multiple on a busy machine: 80 short programs run one after the other), with a
    control plane of its own, because definitions and their removal are everybody's."""
    cluster.helm("install", RELEASE, OLDER, values={})
    cluster.wait_for_definition()
    older = cluster.names()
    runs_are_made(cluster)

    cluster.helm("upgrade", RELEASE, CHART, values={})
    plain = cluster.names()
    the_operator_works_in_its_pod(cluster, tmp_path / "operator.log")
    helm_test_makes_a_run_and_waits_for_it(cluster)
    theirs = what_is_of_people(cluster)
    kinds = sorted(name.split("/")[0] for name in theirs)
    assert kinds == ["AceReasonRun", "AceReasonRun", "Job", "PersistentVolumeClaim"]

    other = cluster.control_plane.new_namespace("research")
    values = {"namespaces": [cluster.namespace, other], "operator": {"replicas": 3},
              "verifier": {"enabled": True}}  # fmt: skip
    notes = cluster.helm("upgrade", RELEASE, a_newer_chart(tmp_path / "newer"), values=values)
    assert f"serves runs in {cluster.namespace}, {other}" in notes
    changed = cluster.names()
    role = f"{cluster.namespace}-{RELEASE}-acereason-operator"
    assert plain - changed == {f"ClusterRole/{role}", f"ClusterRoleBinding/{role}"}
    verifier = {f"{kind}/{RELEASE}-acereason-operator-verifier" for kind in OF_THE_VERIFIER}
    assert changed - plain == {f"Role/{role}", f"RoleBinding/{role}"} | verifier
    assert cluster.deployment()["spec"]["replicas"] == 3
    assert "Gain" in cluster.columns()
    assert what_is_of_people(cluster) == theirs

    cluster.helm("rollback", RELEASE, "1")
    assert cluster.names() == older
    assert cluster.deployment()["spec"]["replicas"] == 2
    assert "Reward" in cluster.columns()
    assert what_is_of_people(cluster) == theirs

    cluster.helm("uninstall", RELEASE)
    wait_for(
        lambda: not cluster.names(), "everything of the release to go", cluster.names, PATIENCE
    )
    assert what_is_of_people(cluster) == theirs

    labelled = {"monitoring": {"labels": {"release": "prometheus"}}}
    notes = cluster.helm("install", RELEASE, CHART, values=labelled)
    assert 'PodMonitors are there, labelled {"release":"prometheus"}.' in notes
    assert cluster.names() == plain
    assert what_is_of_people(cluster) == theirs


def a_newer_chart(folder: Path) -> Path:
    """A chart in which a column of runs has another name."""
    shutil.copytree(CHART, folder)
    crd = folder / "files/crds/acereasonruns.yaml"
    crd.write_text(crd.read_text().replace("- name: Reward\n", "- name: Gain\n"))
    return folder


def runs_are_made(cluster: Cluster) -> None:
    """One that nobody has taken up yet, and one that an older operator has finished."""
    mine = yaml.safe_load(what_the_test_runs(cluster)["run.yaml"])
    mine["metadata"]["name"] = mine["spec"]["storage"]["claimTemplate"]["name"] = MINE
    place = ("--namespace", cluster.namespace)
    cluster.control_plane.kubectl("create", "-f", "-", stdin=json.dumps(mine))
    cluster.control_plane.kubectl("create", *place, "-f", "-", stdin=json.dumps(FINISHED))
    status = json.dumps({"status": FINISHED["status"]})
    cluster.control_plane.kubectl(
        *("patch", "acereasonrun", DONE, *place), *("--subresource=status", "--type=merge"),
        *("-p", status),
    )  # fmt: skip


def what_is_of_people(cluster: Cluster) -> dict[str, Any]:
    """uid of what an operator and its removal leave alone, by kind/name; and what came of runs."""
    found = cluster.items("acereasonruns,persistentvolumeclaims,jobs")
    return {
        f"{body['kind']}/{body['metadata']['name']}": (
            body["metadata"]["uid"],
            [outcome(stage) for stage in body["status"].get("stages", ())],
        )
        for body in found
    }


def outcome(stage: dict[str, Any]) -> tuple[Any, ...]:
    """What came of a stage."""
    return tuple(stage.get(name) for name in ("name", "state", "attempts", "key", "artifact"))


def what_the_test_runs(cluster: Cluster) -> Any:
    """The run that `helm test` would make, and the file of its pod's program."""
    hooks = [body for body in yaml.safe_load_all(cluster.helm("get", "hooks", RELEASE)) if body]
    return one(hooks, "ConfigMap", "-test")["data"]


def the_operator_works_in_its_pod(cluster: Cluster, log: Path) -> None:
    """With the account, the rights and the variables that the chart gives it, it leads, makes the
    first Job of a run that waits, and leaves alone what is finished."""
    with operator(cluster, environment(cluster.deployment()), log):

        def jobs() -> Any:
            return cluster.items("jobs")

        wait_for(lambda: len(jobs()) == 1, "the run's first Job", log.read_text, PATIENCE)
        (container,) = jobs()[0]["spec"]["template"]["spec"]["containers"]
        assert container["image"] == "registry.example/team/acereason-operator:0.1.0"
        lease = cluster.get("lease", f"{RELEASE}-acereason-operator")
        assert lease["spec"]["holderIdentity"]
    assert "forbidden" not in log.read_text(), log.read_text()
    done = cluster.get("acereasonrun", DONE)["status"]
    assert [*map(outcome, done["stages"])] == [*map(outcome, FINISHED["status"]["stages"])]


@contextmanager
def operator(cluster: Cluster, variables: dict[str, str], log: Path) -> Iterator[None]:
    """The operator as its pod runs it, but for the address of the API server."""
    account = cluster.control_plane.service_account(
        cluster.namespace, f"{RELEASE}-acereason-operator"
    )
    here = {"ACEREASON_KUBECONFIG": str(account.kubeconfig), "ACEREASON_PROBE_PORT": "0"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "acereason_operator.runtime"],
            env=os.environ | variables | here, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def helm_test_makes_a_run_and_waits_for_it(cluster: Cluster) -> None:
    """Its pod's program, under the rights of its pod, tells of a failed run and leaves it; takes a
    complete one away with its volume; and helm then removes what it made for the test."""
    namespace, name = cluster.namespace, f"{RELEASE}-acereason-operator-test"
    before = cluster.names()
    testing = subprocess.Popen(
        cluster.command("test", RELEASE, "--timeout", f"{PATIENCE}s"),
        env=cluster.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        wait_for(lambda: bool(cluster.get("pod", name)), "the test's pod", patience=PATIENCE)
        files = what_the_test_runs(cluster)
        for file, text in files.items():
            (cluster.home / file).write_text(text)

        run = ("acereasonrun", TESTED)
        code, said = played(cluster, name, "Failed", "rank 0 ran out of memory")
        assert code == 1
        assert "the run failed: rank 0 ran out of memory. Look at it: kubectl describe" in said
        code, said = run_by_hand(cluster, name)
        assert (code, said.split(". ")[0]) == (1, "the run of an earlier test is still there")
        cluster.control_plane.kubectl("delete", "-n", namespace, *run)

        claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                 "metadata": {"name": TESTED, "namespace": namespace},
                 "spec": {"accessModes": ["ReadWriteOnce"],
                          "resources": {"requests": {"storage": "1Gi"}}}}  # fmt: skip
        cluster.control_plane.kubectl("create", "-f", "-", stdin=json.dumps(claim))
        code, said = played(cluster, name, "Complete", "")
        assert (code, said.splitlines()[-1]) == (0, COMPLETE), said
        assert not cluster.get(*run)
        assert not cluster.get("persistentvolumeclaim", TESTED)

        status = json.dumps({"status": {"phase": "Succeeded"}})
        cluster.control_plane.kubectl(
            "patch", "pod", name, "-n", namespace, "--subresource=status", "-p", status
        )
        told, _ = testing.communicate(timeout=PATIENCE)
        assert "Phase:          Succeeded" in told
        assert testing.returncode == 0
    finally:
        testing.kill()
        testing.wait()
    assert cluster.names() == before


COMPLETE = "the run is complete: the operator works, and so does the trainer's image"


def played(cluster: Cluster, account: str, condition: str, message: str) -> tuple[int, str]:
    """The test's program, while somebody plays the operator and ends its run with a condition: exit
    code, and what it said."""
    with the_program(cluster, account) as program:
        wait_for(
            lambda: bool(cluster.get("acereasonrun", TESTED)),
            "the test's run",
            program.poll,
            PATIENCE,
        )
        ended = {"type": condition, "status": "True", "reason": "Played", "message": message,
                 "lastTransitionTime": "2026-01-01T00:00:00Z"}  # fmt: skip
        cluster.control_plane.kubectl(
            *("patch", "acereasonrun", TESTED, "-n", cluster.namespace),
            *("--subresource=status", "--type=merge"),
            *("-p", json.dumps({"status": {"conditions": [ended]}})),
        )
        said, _ = program.communicate(timeout=PATIENCE)
        return program.returncode, said


def run_by_hand(cluster: Cluster, account: str) -> tuple[int, str]:
    """The test's program: exit code, and what it said."""
    with the_program(cluster, account) as program:
        said, _ = program.communicate(timeout=PATIENCE)
        return program.returncode, said


@contextmanager
def the_program(cluster: Cluster, account: str) -> Iterator["subprocess.Popen[str]"]:
    """The test's program under the rights of its pod."""
    who = cluster.control_plane.service_account(cluster.namespace, account)
    program = subprocess.Popen(
        [sys.executable, cluster.home / "tiny_run.py", cluster.home / "run.yaml", str(PATIENCE)],
        env=os.environ | {"KUBECONFIG": str(who.kubeconfig)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        yield program
    finally:
        program.kill()
        program.wait()
