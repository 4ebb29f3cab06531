"""Which pods a Prometheus outside of the cluster scrapes: those that PodMonitors select.

Prometheus Operator makes a Prometheus ask the API server for pods; Debian's cannot, so that part is
played here, through the files that Prometheus reads again when they change.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chart.rendered_chart import Object

LABEL = "__meta_kubernetes_pod_label_"
"""Of Prometheus' own discovery, with what is no letter or digit made an underscore."""


@dataclass(frozen=True)
class PodDiscovery:
    """Discovery for the PodMonitors among a chart's objects."""

    folder: Path
    """Of the files with targets."""
    chart: Sequence[Object]

    def scrape_configs(self) -> list[Object]:
        """Of Prometheus: one for each PodMonitor."""
        self.look([])
        return [
            {
                "job_name": monitor["metadata"]["name"],
                "honor_labels": _endpoint(monitor).get("honorLabels", False),
                "file_sd_configs": [{"files": [str(self._file(monitor))]}],
            }
            for monitor in self._monitors()
        ]

    def look(self, pods: Sequence[Object]) -> None:
        """Take these pods for all that there are."""
        for monitor in self._monitors():
            targets = [_target(pod, monitor) for pod in pods if _selects(monitor, pod)]
            unfinished = self._file(monitor).with_suffix(".unfinished")
            unfinished.write_text(json.dumps(targets), encoding="utf-8")
            unfinished.rename(self._file(monitor))

    def _monitors(self) -> Iterator[Object]:
        return (body for body in self.chart if body["kind"] == "PodMonitor")

    def _file(self, monitor: Object) -> Path:
        return self.folder / f"{monitor['metadata']['name']}.json"


def _endpoint(monitor: Object) -> Mapping[str, Any]:
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    return dict(endpoint)


def _selects(monitor: Object, pod: Object) -> bool:
    spec, meta = monitor["spec"], pod["metadata"]
    where = spec.get("namespaceSelector", {"matchNames": [monitor["metadata"]["namespace"]]})
    there = where.get("any") or meta["namespace"] in where["matchNames"]
    wanted = spec["selector"]["matchLabels"].items() <= meta.get("labels", {}).items()
    runs = pod["status"]["phase"] == "Running" and "podIP" in pod["status"]
    return bool(there and wanted and runs and _port(monitor, pod))


def _port(monitor: Object, pod: Object) -> int:
    """Number of the port that the monitor names; 0 where the pod has none of that name."""
    ports = (port for c in pod["spec"]["containers"] for port in c.get("ports", ()))
    name = _endpoint(monitor)["port"]
    return next((int(port["containerPort"]) for port in ports if port.get("name") == name), 0)


def _target(pod: Object, monitor: Object) -> Object:
    meta = pod["metadata"]
    known = {LABEL + _underscored(name): value for name, value in meta["labels"].items()}
    given = {
        relabeling["targetLabel"]: known[relabeling["sourceLabels"][0]]
        for relabeling in _endpoint(monitor).get("relabelings", ())
    }
    own = {"namespace": meta["namespace"], "pod": meta["name"]}
    return {"targets": [f"{pod['status']['podIP']}:{_port(monitor, pod)}"], "labels": own | given}


def _underscored(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)
