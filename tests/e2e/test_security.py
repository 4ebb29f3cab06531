"""What an intruder in a pod can do: nothing. Tried in pods that run, and not read from their specs.

The cluster's network plugin enforces no NetworkPolicy, so what those forbid cannot be tried here:
they are checked for what they select and allow.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.chart.rendered_chart import RELEASE
from tests.e2e.installation import Installation
from tests.e2e.trial import Trial

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SCRIPT = Path(__file__).with_name("attempts.py")
SECRET = "somebodys-hub-token"


@pytest.fixture(scope="module")
def stage(installation: Installation) -> Iterator[str]:
    """Pod of a stage that trains for as long as the tests here need it."""
    installation.kubectl("create", "secret", "generic", SECRET, "--from-literal=token=hf_secret")
    trial = Trial(installation, "intruder", seed=11)
    trial.apply(steps=100_000)
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


def test_a_stage_can_do_nothing_but_its_work(installation: Installation, stage: str) -> None:
    attempts = tried_in(installation, installation.namespace, stage)
    assert not succeeded(attempts), attempts


def test_a_verifier_can_do_nothing_but_its_work(installation: Installation) -> None:
    attempts = tried_in(installation, installation.system, pod_of(installation, "verifier"))
    assert not succeeded(attempts), attempts


def test_an_operator_has_no_more_rights_than_its_work_needs(installation: Installation) -> None:
    attempts = tried_in(installation, installation.system, pod_of(installation, "operator"))
    assert not succeeded(attempts), attempts
    asked = [refused for name, refused in attempts.items() if "403" in refused]
    assert len(asked) == 6, "its token was known, and refused"


def test_the_attempts_are_such_as_can_succeed() -> None:
    """As root on this machine, outside of any container, in a process that ends with them."""
    done = subprocess.run(
        [sys.executable, SCRIPT, "default", SECRET], capture_output=True, text=True, check=True
    )
    can = succeeded(json.loads(done.stdout))
    assert {"write to /etc", "become another user", "have capabilities", "change the root"} <= can


def test_a_stage_knows_no_secret_and_no_token(installation: Installation, stage: str) -> None:
    words = ("exec", stage, "--", "sh", "-c", "env; find /var/run/secrets -type f")
    told = installation.kubectl(*words)
    assert "hf_secret" not in told
    assert "/var/run/secrets" not in told


def test_network_policies_select_the_pods_that_run(installation: Installation) -> None:
    policies = {
        policy["metadata"]["name"]: policy["spec"]
        for namespace in (installation.system, installation.namespace)
        for policy in json.loads(
            installation.cluster.kubectl("get", "networkpolicies", "-n", namespace, "-o", "json")
        )["items"]
    }
    operator, verifier = f"{RELEASE}-acereason-operator", f"{RELEASE}-acereason-operator-verifier"
    for name, component in ((operator, "operator"), (verifier, "verifier")):
        wanted = policies[name]["podSelector"]["matchLabels"]
        pod = pod_of(installation, component)
        labels = json.loads(
            installation.cluster.kubectl("get", "pod", "-n", installation.system, pod, "-o", "json")
        )["metadata"]["labels"]
        assert wanted.items() <= labels.items()
    assert not policies[verifier].get("egress")
    assert "Egress" in policies[verifier]["policyTypes"], "model-written programs reach nobody"


def pod_of(installation: Installation, component: str) -> str:
    """A running pod of the release."""
    label = f"app.kubernetes.io/component={component}"
    words = ("get", "pods", "-n", installation.system, "-l", label, "-o", "json")
    pods = json.loads(installation.cluster.kubectl(*words))["items"]
    return next(str(pod["metadata"]["name"]) for pod in pods if pod["status"]["phase"] == "Running")
