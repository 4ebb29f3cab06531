"""The operator as the benchmark starts it: a process of its own, under its roles, and its gauges.

What it needed is read from outside: CPU and resident memory from /proc, the rest from /metrics.
"""

import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from acereason_trainer.processes import cpu_seconds
from prometheus_client.parser import text_string_to_metric_families

from tests.controlplane.control_plane import Account

QUEUE_WAIT = "acereason_workqueue_queue_duration_seconds"
WORK = "acereason_workqueue_work_duration_seconds"
Buckets = dict[float, float]
"""Upper bound in seconds to the number of observations up to it, as a histogram counts."""


@dataclass
class Reading:
    """What an operator had done up to a moment."""

    cpu_seconds: float
    requests: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """By verb."""
    queue_wait: Buckets = field(default_factory=dict)
    work: Buckets = field(default_factory=dict)
    reconciles: float = 0.0
    leads: bool = False
    runs: dict[str, float] = field(default_factory=dict)
    """By state."""
    cached: dict[str, float] = field(default_factory=dict)
    """Objects in its cache, by kind."""
    cached_bytes: float = 0.0
    progress_reads: float = 0.0


class OperatorProcess:
    """One replica, with the settings that it has by default unless `words` says otherwise."""

    def __init__(
        self, account: Account, home: str, log: Path, metrics_port: int, *words: str
    ) -> None:
        """home: namespace of the Lease. metrics_port: where rank 0 of a stage serves."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.log = log
        command = [
            *(sys.executable, "-m", "acereason_operator.runtime"),
            *("--kubeconfig", str(account.kubeconfig), "--lease-namespace", home),
            *("--trainer-image", "trainer:1", "--prepare-image", "operator:1"),
            *("--probe-host", "127.0.0.1", "--probe-port", str(self._port)),
            *("--metrics-port", str(metrics_port), *words),
        ]
        self.started_at = time.monotonic()
        with log.open("wb") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def read(self) -> Reading | None:
        """How things stand; None before it answers. Raises RuntimeError where it has ended."""
        if self._process.poll() is not None:
            raise RuntimeError(f"the operator has ended:\n{self.log.read_text()[-3000:]}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=30) as a:
                text = a.read().decode()
        except OSError:
            return None
        return reading(text, cpu_seconds(self.pid))

    def is_ready(self) -> bool:
        """What /readyz says."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=30) as a:
                return bool(a.status == 200)
        except OSError:
            return False

    def resident_mib(self) -> float:
        """Memory that it holds now."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        match = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert match, status
        return int(match[1]) / 1024

    def end(self) -> None:
        """SIGTERM; RuntimeError where it does not end in peace."""
        self._process.send_signal(signal.SIGTERM)
        code, said = self._process.wait(60), self.log.read_text()
        if code or "Traceback" in said:
            raise RuntimeError(f"the operator ended with {code}:\n{said[-3000:]}")

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()


def reading(text: str, cpu: float) -> Reading:
    """What a page of metrics says."""
    found = Reading(cpu)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name, labels, value = sample.name, sample.labels, sample.value
            match name:
                case "acereason_api_requests_total":
                    found.requests[labels["verb"]] += value
                case "acereason_reconcile_total":
                    found.reconciles += value
                case "acereason_leader":
                    found.leads = value == 1
                case "acereason_runs":
                    found.runs[labels["state"]] = value
                case "acereason_cache_objects":
                    found.cached[labels["resource"]] = value
                case "acereason_cache_bytes":
                    found.cached_bytes += value
                case "acereason_progress_reads_total":
                    found.progress_reads += value
                case _ if name == f"{QUEUE_WAIT}_bucket":
                    found.queue_wait[float(labels["le"])] = value
                case _ if name == f"{WORK}_bucket":
                    found.work[float(labels["le"])] = value
    return found
