"""The operator as a process against a real API server, with the real Job controller."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from acereason_operator.cluster import labels
from acereason_operator.cluster.protocol import Object
from operator_process import Installation
from operators import a_kubeconfig
from players import Player

from tests.controlplane.control_plane import ControlPlane
from tests.waiting import PATIENCE, wait_for


class PlayerWhoIsSeen(Player):
    """Ends a pod in which a stage trains only once the run's status says that it does: one of the
    writes that are counted, which an operator who looks late would not make."""

    def __init__(self, installed: Installation) -> None:
        super().__init__(installed.control_plane, installed.namespace)
        self._installed = installed

    def _move(self, pod: Object) -> None:
        of = pod["metadata"]["labels"]
        ends = of[labels.PHASE] == "train" and pod["status"]["phase"] == "Running"
        if not ends or self._state(of[labels.STAGE]) == "Running":
            super()._move(pod)

    def _state(self, stage: str) -> str:
        stages = self._installed.status().get("stages", ())
        return next((str(s["state"]) for s in stages if s["name"] == stage), "")


def everything(installed: Installation) -> str:
    """All that the operator may have written on, as text."""
    namespace = installed.namespace
    paths = (
        installed.runs,
        installed.lease,
        f"/apis/batch/v1/namespaces/{namespace}/jobs",
        f"/api/v1/namespaces/{namespace}/pods",
        f"/api/v1/namespaces/{namespace}/services",
        f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies",
        f"/apis/events.k8s.io/v1/namespaces/{namespace}/events",
    )
    return "\n".join(json.dumps(installed.control_plane.request("GET", path)) for path in paths)


@pytest.mark.slow
def test_a_whole_run_within_its_budget_of_writes(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    """About 15 s: two starts of the operator, and a run of four stages."""
    installed = Installation.on(control_plane)
    with (
        installed.an_operator(tmp_path / "first.log") as operator,
        PlayerWhoIsSeen(installed),
    ):
        told = operator.log.read_text
        wait_for(operator.is_ready, "the operator to be ready", told)
        assert operator.get("/healthz") == "ok\n"
        installed.apply()
        wait_for(installed.is_complete, "the run", lambda: f"{installed.status()} {told()}")
        # Eight Jobs, one Lease, and an Event for each stage and for the run.
        wait_for(lambda: operator.requests()["create"] == 8 + 1 + 5, "all its Events", told)
        counts = operator.requests()
        assert counts["write_status"] == 13
        written = 8 + sum(counts.get(verb, 0) for verb in ("write_status", "apply", "delete"))
        assert written <= 26
        assert "kopf" not in everything(installed)
        assert operator.end() == 0, told()
        assert "Traceback" not in told()
        lease = control_plane.request("GET", installed.lease)
        assert lease["spec"].get("holderIdentity", "") == ""
    with installed.an_operator(tmp_path / "second.log") as operator:
        wait_for(operator.is_ready, "the operator to be ready", operator.log.read_text)
        wait_for(
            lambda: 'reconcile_total{result="done"} 1' in operator.get("/metrics"),
            "a look at the finished run",
            installed.status,
        )
        assert set(operator.requests()) <= {"get", "list", "replace"}, "a finished run costs none"
        assert operator.end() == 0


def test_a_server_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    """And SIGTERM ends the waiting: exit 0, without a traceback."""
    kubeconfig = a_kubeconfig(tmp_path, "http://127.0.0.1:9")
    done = subprocess.Popen(
        [
            *(sys.executable, "-m", "acereason_operator.runtime", "--kubeconfig", str(kubeconfig)),
            *("--trainer-image", "t", "--prepare-image", "p", "--probe-port", "0"),
        ],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ},
    )
    assert done.stderr is not None
    for line in done.stderr:
        if "cannot be listed yet" in line:
            break
    done.send_signal(signal.SIGTERM)
    rest = done.stderr.read()
    assert done.wait(PATIENCE) == 0
    assert "Traceback" not in rest
