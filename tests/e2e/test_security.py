"""What an intruder in a pod can do: nothing. Tried in pods that run, and not read from their specs.

The cluster's network plugin enforces no NetworkPolicy, so what those forbid cannot be tried here:
they are checked for what they select and allow.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.installation import MONITORING, Installation
from tests.e2e.network_flows import OUTSIDE, Peer, may_reach
from tests.e2e.trial import Trial

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600, func_only=True)]

SCRIPT = Path(__file__).with_name("attempts.py")
SECRET = "somebodys-hub-token"
FROM_SECRET = {"secretKeyRef": {"name": SECRET, "key": "token"}}
ASKED = ("read somebody's Secret", "list Secrets", "make a pod", "make a run",
         "run a command elsewhere", "list nodes")  # fmt: skip
"""What only the API server can refuse."""
COLLECTIVE = 29500
"""A port of ranks among themselves."""
ABSENT = ("write beside the stage file", "read the host's memory", "write to /run/lock")
"""What may not even be there: in the operator's pod there is no stage file."""


@pytest.fixture(scope="module")
def stage(installation: Installation) -> Iterator[str]:
    """Pod of a stage that trains for as long as the tests here need it."""
    installation.kubectl("create", "secret", "generic", SECRET, "--from-literal=token=hf_secret")
    trial = Trial(installation, "intruder", seed=11)
    trial.apply(steps={"first": 100_000})
    trial.wait_for_step("first")
    yield str(trial.pod("first")["metadata"]["name"])
    installation.kubectl("delete", "arr", "intruder")


def tried_in(installation: Installation, namespace: str, pod: str) -> Mapping[str, str]:
    """What refused each attempt inside of a pod."""
    program = ("python3", "-", installation.namespace, SECRET)
    words = ("exec", "-i", "-n", namespace, pod, "--", *program)
    return dict(json.loads(installation.cluster.kubectl(*words, stdin=SCRIPT.read_text())))


def succeeded(attempts: Mapping[str, str]) -> set[str]:
    return {name for name, refused in attempts.items() if not refused}


def must_be_refused(attempts: Mapping[str, str], by_the_server: str) -> None:
    """Refused by who has to: not by a network that is broken, nor for a file that is missing.

    by_the_server: what it says to the token, or to none.
    """
    for name, refused in attempts.items():
        if name in ASKED:
            assert by_the_server in refused, (name, refused)
        elif name in ABSENT:
            assert refused, name
        else:
            assert re.search(r"PermissionError|\[Errno 30\]", refused), (name, refused)


def test_a_stage_can_do_nothing_but_its_work(installation: Installation, stage: str) -> None:
    """It has no token; whoever has none may ask for nothing."""
    attempts = tried_in(installation, installation.namespace, stage)
    must_be_refused(attempts, by_the_server="HTTP Error 40")


def test_a_verifier_can_do_nothing_but_its_work(installation: Installation) -> None:
    attempts = tried_in(installation, installation.system, pod_of(installation, "verifier"))
    must_be_refused(attempts, by_the_server="HTTP Error 40")


def test_an_operator_has_no_more_rights_than_its_work_needs(installation: Installation) -> None:
    attempts = tried_in(installation, installation.system, pod_of(installation, "operator"))
    must_be_refused(attempts, by_the_server="HTTP Error 403")


def test_the_attempts_are_such_as_can_succeed() -> None:
    """As root on this machine, outside of any container, in mounts of its own."""
    words = ("unshare", "--mount", "--propagation", "private", sys.executable, SCRIPT)
    done = subprocess.run([*words, "default", SECRET], capture_output=True, text=True, check=True)
    can = succeeded(json.loads(done.stdout))
    assert {"write to /etc", "write to /var/tmp", "become another user"} <= can
    assert {"have capabilities", "change the root", "mount"} <= can


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
    server = installation.api_server_port
    flows: Sequence[tuple[str, Peer, Peer, int | str, bool]] = [
        ("a stage has its answers checked", rank, verifier, "http", True),
        ("the operator reads progress", operator, rank, "metrics", True),
        ("the operator works", operator, OUTSIDE, server, True),
        ("ranks train together", rank, rank, COLLECTIVE, True),
        ("Prometheus scrapes a stage", prometheus, rank, "metrics", True),
        ("Prometheus scrapes the operator", prometheus, operator, "probes", True),
        ("Prometheus scrapes the verifier", prometheus, verifier, "http", True),
        ("another run's pod joins ranks", elsewhere, rank, COLLECTIVE, False),
        ("a stranger joins ranks", stranger, rank, COLLECTIVE, False),
        ("a stranger scrapes the operator", stranger, operator, "probes", False),
        ("a stranger uses the verifier", stranger, verifier, "http", False),
        ("what prepares uses the verifier", prepare, verifier, "http", False),
        ("a program leaves the verifier", verifier, OUTSIDE, server, False),
        ("a program reaches a stage", verifier, rank, "metrics", False),
        ("the operator reaches the outside", operator, OUTSIDE, 80, False),
    ]
    wrong = [
        what
        for what, source, target, port, wanted in flows
        if may_reach(policies, source, target, port) != wanted
    ]
    assert not wrong


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
