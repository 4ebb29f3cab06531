"""Definitions of Prometheus Operator's kinds, as that project publishes them.

They are files of its Go module: Go fetches it once (30 MB) in the version of monitors/go.mod, and
checks it against monitors/go.sum. Nothing of it is built.
"""

import json
import os
import subprocess
from functools import cache
from pathlib import Path

import yaml

from tests.chart.rendered_chart import Object
from tests.controlplane import cache as kept
from tests.controlplane.go_toolchain import go_program

MODULE = "github.com/prometheus-operator/prometheus-operator"


@cache
def monitor_definitions() -> list[Object]:
    """The CustomResourceDefinitions of PodMonitor and of PrometheusRule."""
    asked = subprocess.run(
        [go_program(kept.cache()), "mod", "download", "-json", MODULE],
        cwd=Path(__file__).parent / "monitors",
        env=os.environ | {"GOTOOLCHAIN": "local"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert asked.returncode == 0, asked.stdout + asked.stderr
    folder = Path(json.loads(asked.stdout)["Dir"]) / "example/prometheus-operator-crd"
    return [
        yaml.load((folder / f"monitoring.coreos.com_{plural}.yaml").read_text(), yaml.CSafeLoader)
        for plural in ("podmonitors", "prometheusrules")
    ]
