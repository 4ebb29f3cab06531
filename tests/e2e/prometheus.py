"""A Prometheus on this machine that finds the pods of a cluster as the chart's PodMonitors say."""

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.chart.rendered_chart import RELEASE, Values, rendered
from tests.cluster.network import CONTROL_PLANE_ADDRESS
from tests.monitoring.prometheus_program import prometheus_programs
from tests.waiting import wait_for

PORT = 9390
EVERY = "2s"


@dataclass(frozen=True)
class Prometheus:
    """A running one."""

    url: str

    def ask(self, expression: str) -> Sequence[Any]:
        """Series that an expression has now, each with `metric` and `value`."""
        query = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{query}", timeout=30) as answer:
            found: Sequence[Any] = json.load(answer)["data"]["result"]
        return found


@contextmanager
def scraping(
    folder: Path, kubeconfig: Path, namespace: str, values: Values
) -> Iterator[Prometheus]:
    """A Prometheus that scrapes what the PodMonitors of a release select; gone after the block.

    folder: for its data and its log. namespace, values: the release's.
    """
    monitored: Values = {**values, "monitoring": {"create": "always"}}
    jobs = [
        job
        for monitor in rendered(monitored, release=RELEASE, namespace=namespace)
        if monitor["kind"] == "PodMonitor"
        for job in _scrape_configs(monitor, kubeconfig)
    ]
    config = {"global": {"scrape_interval": EVERY}, "scrape_configs": jobs}
    file, address = folder / "prometheus.yml", f"{CONTROL_PLANE_ADDRESS}:{PORT}"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [
                prometheus_programs()["prometheus"],
                f"--config.file={file}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
        )
    prometheus = Prometheus(f"http://{address}")
    try:
        wait_for(
            lambda: _ready(prometheus.url),
            "Prometheus is ready",
            (folder / "prometheus.log").read_text,
        )
        yield prometheus
    finally:
        process.terminate()
        process.wait()


def _scrape_configs(monitor: dict[str, Any], kubeconfig: Path) -> Iterator[dict[str, Any]]:
    """What Prometheus Operator makes of a PodMonitor, as far as ours go."""
    spec, meta = monitor["spec"], monitor["metadata"]
    where = spec.get("namespaceSelector", {"matchNames": [meta["namespace"]]})
    discovery = {"role": "pod", "kubeconfig_file": str(kubeconfig)}
    if not where.get("any"):
        discovery["namespaces"] = {"names": where["matchNames"]}
    for number, endpoint in enumerate(spec["podMetricsEndpoints"]):
        kept = [
            {
                "action": "keep",
                "source_labels": [f"__meta_kubernetes_pod_label_{_label(name)}"],
                "regex": value,
            }
            for name, value in spec["selector"]["matchLabels"].items()
        ]
        named = {"namespace": "namespace", "pod": "pod_name"}
        yield {
            "job_name": f"{meta['namespace']}/{meta['name']}/{number}",
            "honor_labels": endpoint.get("honorLabels", False),
            "kubernetes_sd_configs": [discovery],
            "relabel_configs": [
                {"action": "drop", "source_labels": ["__meta_kubernetes_pod_phase"],
                 "regex": "(Failed|Succeeded)"},
                *kept,
                {"action": "keep", "regex": endpoint["port"],
                 "source_labels": ["__meta_kubernetes_pod_container_port_name"]},
                *({"source_labels": [f"__meta_kubernetes_{source}"], "target_label": label}
                  for label, source in named.items()),
                *({"source_labels": r["sourceLabels"], "target_label": r["targetLabel"]}
                  for r in endpoint.get("relabelings", ())),
            ],
        }  # fmt: skip


def _label(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=5):
            return True
    except OSError:
        return False
