"""What an intruder in a pod can do: nothing. Tried in pods that run, and not read from their specs.

The cluster's network plugin enforces no NetworkPolicy, so what those forbid cannot be tried here:
they are checked for what they select and allow.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.controlplane.lifetimes import private_control_plane
from tests.e2e.installation import MONITORING, Installation
from tests.e2e.network_flows import OUTSIDE, Peer, Port, may_reach
from tests.e2e.trial import Trial

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600, func_only=True)]

SCRIPT = Path(__file__).with_name("attempts.py")
SECRET = "somebodys-hub-token"
SERVER, TOKEN = (
    "https://kubernetes.default.svc",
    "/var/run/secrets/kubernetes.io/serviceaccount/token",
)
"""What a program in a pod finds, if anything."""
FROM_SECRET = {"secretKeyRef": {"name": SECRET, "key": "token"}}
REFUSED = r"HTTP Error 40[13]:"
"""What the API server says to who has no token, or none with the right. That there is no such thing
(404) it says only to those who might have it."""
FORBIDDEN = r"HTTP Error 403:"
"""What it says to a token without the right."""
COLLECTIVE = Port(29500)
"""A port of ranks among themselves."""
REFUSED_TO_SOME_ROOTS = {
    "enter a user namespace",
    "gain privileges",
    "make a device",
    "read the host's memory",
    "send raw packets",
}
"""What a container in which the tests run may forbid, or a kernel."""
ABSENT = ("read the host's memory", "write to /run/lock")
"""What may not even be there."""
BESIDE_A_STAGE_FILE = "write beside the stage file"
"""There is one in a stage's pod alone."""


@pytest.fixture(scope="module")
def stage(installation: Installation) -> Iterator[str]:
    """Pod of a stage that trains for as long as the tests here need it."""
    installation.kubectl("create", "secret", "generic", SECRET, "--from-literal=token=hf_secret")
    trial = Trial(installation, "intruder", seed=11)
    trial.apply(steps={"first": 100_000})
    trial.wait_for_step("first")
    yield str(trial.pod("first")["metadata"]["name"])
    installation.delete_runs("intruder")


@dataclass(frozen=True)
class Pod:
    """A pod that an intruder is in."""

    installation: Installation
    namespace: str
    name: str
    absent: tuple[str, ...] = (*ABSENT, BESIDE_A_STAGE_FILE)
    """Attempts at what it may not even have."""

    def must_be_refused(self, by_the_server: str) -> None:
        """Whatever is tried in it, by who has to refuse it: not by a network that is broken, nor
        for a file that is missing.

        by_the_server: what it says to the pod's token, or to none.
        """
        asked = ("server", SERVER, TOKEN, self.installation.namespace, SECRET)
        for name, refused in self._tried(*asked).items():
            assert re.search(by_the_server, refused), (name, refused)
        for name, refused in self._tried("machine", "/").items():
            if name in self.absent:
                assert refused, name
            else:
                assert re.search(r"PermissionError|\[Errno 30\]", refused), (name, refused)

    def _tried(self, *words: str) -> Mapping[str, str]:
        """What refused each attempt."""
        program = ("exec", "-i", "-n", self.namespace, self.name, "--", "python3", "-", *words)
        found = self.installation.cluster.kubectl(*program, stdin=SCRIPT.read_text())
        return dict(json.loads(found))


def test_a_stage_can_do_nothing_but_its_work(installation: Installation, stage: str) -> None:
    """It has no token; whoever has none may ask for nothing."""
    Pod(installation, installation.namespace, stage, absent=ABSENT).must_be_refused(REFUSED)


def test_a_verifier_can_do_nothing_but_its_work(installation: Installation) -> None:
    verifier = pod_of(installation, "verifier")
    Pod(installation, installation.system, verifier).must_be_refused(REFUSED)


def test_an_operator_has_no_more_rights_than_its_work_needs(installation: Installation) -> None:
    operator = pod_of(installation, "operator")
    Pod(installation, installation.system, operator).must_be_refused(FORBIDDEN)


def tried_here(words: Sequence[str | Path], *before: str) -> Mapping[str, str]:
    """What refused each attempt of a process of this machine."""
    command = [*before, sys.executable, SCRIPT, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


@pytest.mark.usefixtures("cluster_machine")  # which root has
def test_the_attempts_on_a_machine_are_such_as_can_succeed(tmp_path: Path) -> None:
    """As root outside of any container, in mounts of its own; files are those of an empty root."""
    library = Path(os.__file__).parent.relative_to("/")
    for folder in ("etc/acereason", "mnt", "run/lock", "tmp", "usr/bin", "var/tmp", library):
        (tmp_path / folder).mkdir(parents=True)
    private = ("unshare", "--mount", "--propagation", "private")
    refused = tried_here(["machine", tmp_path], *private)
    assert {name for name, why in refused.items() if why} <= REFUSED_TO_SOME_ROOTS, refused


@pytest.mark.usefixtures("control_plane_machine")
def test_the_attempts_at_a_server_are_such_as_can_succeed(tmp_path: Path) -> None:
    """With an administrator's token, at an API server that is there for nothing else: 10 s."""
    token = tmp_path / "token"
    with private_control_plane() as server:
        namespace = server.new_namespace()
        words = ("create", "secret", "generic", SECRET, "-n", namespace)
        server.kubectl(*words, "--from-literal=token=hf_secret")
        token.write_text(server.token)
        refused = dict(tried_here(["server", server.url, token, namespace, SECRET]))
        token.unlink()
        without = tried_here(["server", server.url, token, namespace, SECRET])
    assert "HTTP Error 404:" in refused.pop("run a command elsewhere"), "there is no such pod"
    assert not any(refused.values()), refused
    assert all(re.search(REFUSED, why) for why in without.values()), without


def test_a_stage_knows_no_secret_and_no_token(installation: Installation, stage: str) -> None:
    """Another run of the same namespace is given the Secret meanwhile."""
    owner = Trial(installation, "owner", seed=13)
    owner.apply(steps={"first": 100_000}, env=[{"name": "HUB_TOKEN", "valueFrom": FROM_SECRET}])
    owner.wait_for_step("first")
    pod = str(owner.pod("first")["metadata"]["name"])
    assert "hf_secret" in installation.kubectl("exec", pod, "--", "env")
    installation.kubectl("delete", "arr", "owner")
    words = ("exec", stage, "--", "sh", "-c", "env; find /var/run/secrets -type f; true")
    told = installation.kubectl(*words)
    assert "hf_secret" not in told
    assert "/var/run/secrets" not in told


def test_network_policies_let_through_what_the_work_needs_and_nothing_else(
    installation: Installation, stage: str
) -> None:
    policies = [
        policy
        for namespace in (installation.system, installation.namespace)
        for policy in listed(installation, namespace, "networkpolicies")
    ]
    operator, verifier = (
        Peer.of(named(installation, installation.system, pod_of(installation, component)))
        for component in ("operator", "verifier")
    )
    rank = Peer.of(named(installation, installation.namespace, stage))
    prepare = replace(rank, labels={**rank.labels, "acereason.dev/phase": "prepare"})
    elsewhere = replace(rank, labels={**rank.labels, "acereason.dev/run": "another"})
    stranger = Peer(installation.namespace, {"app": "stranger"}, {})
    prometheus = Peer(MONITORING, {"app": "prometheus"}, {})
    helm_test = Peer(installation.system, labels_of_helm_test(operator), {})
    server = Port(installation.api_server_port)
    flows: Sequence[tuple[str, Peer, Peer, Port | str, bool]] = [
        ("a stage has its answers checked", rank, verifier, "http", True),
        ("the operator reads progress", operator, rank, "metrics", True),
        ("the operator works", operator, OUTSIDE, server, True),
        ("the operator asks for addresses", operator, OUTSIDE, Port(53, "UDP"), True),
        ("and again, where an answer is long", operator, OUTSIDE, Port(53), True),
        ("a stage asks for addresses", rank, OUTSIDE, Port(53, "UDP"), True),
        ("ranks train together", rank, rank, COLLECTIVE, True),
        ("Prometheus scrapes a stage", prometheus, rank, "metrics", True),
        ("Prometheus scrapes the operator", prometheus, operator, "probes", True),
        ("Prometheus scrapes the verifier", prometheus, verifier, "http", True),
        ("another run's pod joins ranks", elsewhere, rank, COLLECTIVE, False),
        ("a stranger joins ranks", stranger, rank, COLLECTIVE, False),
        ("a stranger scrapes the operator", stranger, operator, "probes", False),
        ("helm test asks the verifier", helm_test, verifier, "http", True),
        ("a stranger uses the verifier", stranger, verifier, "http", False),
        ("what prepares uses the verifier", prepare, verifier, "http", False),
        ("a program leaves the verifier", verifier, OUTSIDE, server, False),
        ("a program asks for addresses", verifier, OUTSIDE, Port(53, "UDP"), False),
        ("a program reaches a stage", verifier, rank, "metrics", False),
        ("the operator reaches the outside", operator, OUTSIDE, Port(80), False),
    ]
    wrong = [
        what
        for what, source, target, port, wanted in flows
        if may_reach(policies, source, target, port) != wanted
    ]
    assert not wrong


def labels_of_helm_test(operator: Peer) -> dict[str, str]:
    """Of its pod, which is gone when it has succeeded."""
    return {**operator.labels, "app.kubernetes.io/component": "test"}


def listed(installation: Installation, namespace: str, kind: str) -> list[Any]:
    """Objects of a namespace."""
    words = ("get", kind, "-n", namespace, "-o", "json")
    return list(json.loads(installation.cluster.kubectl(*words))["items"])


def named(installation: Installation, namespace: str, pod: str) -> Any:
    """A pod by its name."""
    return json.loads(
        installation.cluster.kubectl("get", "pod", "-n", namespace, pod, "-o", "json")
    )


def pod_of(installation: Installation, component: str) -> str:
    """A running pod of the release."""
    label = f"app.kubernetes.io/component={component}"
    words = ("get", "pods", "-n", installation.system, "-l", label, "-o", "json")
    pods = json.loads(installation.cluster.kubectl(*words))["items"]
    return next(str(pod["metadata"]["name"]) for pod in pods if pod["status"]["phase"] == "Running")
