"""The operator as a process against a real API server, with the real Job controller."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from operators import FOUR_STAGES, a_kubeconfig
from players import Player
from prometheus_client.parser import text_string_to_metric_families
from rendering_builders import run_body

from tests.controlplane.control_plane import ControlPlane

PATIENCE = 90.0


class OperatorProcess:
    """One replica."""

    def __init__(self, control_plane: ControlPlane, namespace: str, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.log = log
        words = [
            *("--kubeconfig", str(control_plane.kubeconfig), "--namespace", namespace),
            *("--trainer-image", "trainer:1", "--prepare-image", "operator:1"),
            *("--probe-host", "127.0.0.1", "--probe-port", str(self._port)),
        ]
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "acereason_operator.runtime", *words],
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def get(self, path: str) -> str:
        """What a probe path answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=5) as answer:
            text: str = answer.read().decode()
            return text

    def is_ready(self) -> bool:
        """Whether /readyz says so."""
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.get("/readyz") == "ok\n"
        except OSError:
            return False

    def requests(self) -> dict[str, float]:
        """Requests so far, by verb."""
        counts: dict[str, float] = {}
        for family in text_string_to_metric_families(self.get("/metrics")):
            for sample in family.samples:
                if sample.name == "acereason_api_requests_total":
                    verb = sample.labels["verb"]
                    counts[verb] = counts.get(verb, 0) + sample.value
        return counts

    def end(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextmanager
def an_operator(
    control_plane: ControlPlane, namespace: str, log: Path
) -> Iterator[OperatorProcess]:
    operator = OperatorProcess(control_plane, namespace, log)
    try:
        yield operator
    finally:
        operator.process.kill()
        operator.process.wait()


def until(holds: Callable[[], Any], told: Callable[[], str], within: float = PATIENCE) -> Any:
    end = time.monotonic() + within
    while not (found := holds()):
        assert time.monotonic() < end, f"it did not happen; {told()}"
        time.sleep(0.1)
    return found


def runs_of(namespace: str) -> str:
    return f"/apis/acereason.dev/v1alpha1/namespaces/{namespace}/acereasonruns"


def everything(control_plane: ControlPlane, namespace: str) -> str:
    """All that the operator may have written on, as text."""
    paths = (
        runs_of(namespace),
        f"/apis/batch/v1/namespaces/{namespace}/jobs",
        f"/api/v1/namespaces/{namespace}/pods",
        f"/api/v1/namespaces/{namespace}/services",
        f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies",
        f"/apis/events.k8s.io/v1/namespaces/{namespace}/events",
        f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases",
    )
    return "\n".join(json.dumps(control_plane.request("GET", path)) for path in paths)


@pytest.mark.slow
def test_a_whole_run_within_its_budget_of_writes(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    """About 15 s: two starts of the operator, and a run of four stages."""
    namespace = control_plane.new_namespace()
    path = f"{runs_of(namespace)}/r"

    def status() -> Any:
        return control_plane.request("GET", path).get("status", {})

    def is_complete() -> bool:
        return any(c["type"] == "Complete" and c["status"] == "True" for c in conditions())

    def conditions() -> Any:
        return status().get("conditions", [])

    with (
        an_operator(control_plane, namespace, tmp_path / "first.log") as operator,
        Player(control_plane, namespace),
    ):
        until(operator.is_ready, operator.log.read_text)
        assert operator.get("/healthz") == "ok\n"
        body = run_body("r", stages=FOUR_STAGES)
        body["metadata"]["namespace"] = namespace
        control_plane.request("POST", runs_of(namespace), body)
        until(is_complete, lambda: f"{status()} {operator.log.read_text()}")
        # Eight Jobs, one Lease, and an Event for each stage and for the run.
        until(lambda: operator.requests()["create"] == 8 + 1 + 5, operator.log.read_text)
        counts = operator.requests()
        assert counts["write_status"] == 13
        written = 8 + sum(counts.get(verb, 0) for verb in ("write_status", "apply", "delete"))
        assert written <= 26
        text = everything(control_plane, namespace)
        assert "kopf" not in text
        assert operator.end() == 0, operator.log.read_text()
        assert "Traceback" not in operator.log.read_text()
        lease = control_plane.request(
            "GET", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/acereason-operator"
        )
        assert lease["spec"].get("holderIdentity", "") == ""
    with an_operator(control_plane, namespace, tmp_path / "second.log") as operator:
        until(operator.is_ready, operator.log.read_text)
        until(lambda: 'reconcile_total{result="done"} 1' in operator.get("/metrics"), status)
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
    assert done.wait(30) == 0
    assert "Traceback" not in rest
