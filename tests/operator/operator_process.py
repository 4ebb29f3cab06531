"""The operator as a process against a real API server, under the roles that the chart installs."""

import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acereason_trainer.launch.free_port import free_port
from operators import FOUR_STAGES
from prometheus_client.parser import text_string_to_metric_families
from rendering_builders import run_body
from scenarios.roles import operator_account

from tests.controlplane.control_plane import Account, ControlPlane
from tests.waiting import PATIENCE


@dataclass(frozen=True)
class Installation:
    """An operator's home, and the one namespace that it serves."""

    control_plane: ControlPlane
    home: str
    namespace: str
    account: Account

    @classmethod
    def on(cls, control_plane: ControlPlane) -> "Installation":
        """A new one."""
        home, namespace = control_plane.new_namespace("home"), control_plane.new_namespace()
        account = operator_account(control_plane, home, namespace)
        return cls(control_plane, home, namespace, account)

    @property
    def runs(self) -> str:
        """Path of the runs."""
        return f"/apis/acereason.dev/v1alpha1/namespaces/{self.namespace}/acereasonruns"

    @property
    def lease(self) -> str:
        """Path of the operator's Lease."""
        leases = f"/apis/coordination.k8s.io/v1/namespaces/{self.home}/leases"
        return f"{leases}/acereason-operator"

    def apply(self) -> None:
        """A person makes a run of four stages."""
        body = run_body("r", stages=FOUR_STAGES)
        body["metadata"]["namespace"] = self.namespace
        self.control_plane.request("POST", self.runs, body)

    def status(self) -> Any:
        """Status of that run."""
        return self.control_plane.request("GET", f"{self.runs}/r").get("status", {})

    def is_complete(self) -> bool:
        """Whether that run is."""
        conditions = self.status().get("conditions", [])
        return any(c["type"] == "Complete" and c["status"] == "True" for c in conditions)

    @contextmanager
    def an_operator(
        self, log: Path, kubeconfig: Path | None = None, flags: Sequence[str] = ()
    ) -> Iterator["OperatorProcess"]:
        """A replica, with the account's kubeconfig unless another one is given; killed at the end
        if it still runs."""
        operator = OperatorProcess(self, log, kubeconfig or self.account.kubeconfig, flags)
        try:
            yield operator
        finally:
            operator.process.kill()
            operator.process.wait()


class OperatorProcess:
    """One replica."""

    def __init__(
        self, installed: Installation, log: Path, kubeconfig: Path, flags: Sequence[str]
    ) -> None:
        self.port, self.log = free_port(), log
        words = [
            *("--kubeconfig", str(kubeconfig), "--lease-namespace", installed.home),
            *("--namespace", installed.namespace),
            *("--trainer-image", "trainer:1", "--prepare-image", "operator:1"),
            *("--probe-host", "127.0.0.1", "--probe-port", str(self.port)),
            *flags,
        ]
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "acereason_operator.runtime", *words],
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def get(self, path: str) -> str:
        """What a probe path answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
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
        return self.process.wait(PATIENCE)
