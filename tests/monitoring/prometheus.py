"""A Prometheus of its own, with the chart's rules."""

import json
import math
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from acereason_trainer.launch.free_port import free_port
from acereason_trainer.processes import die_with_parent

from tests.chart.rendered_chart import Object, one
from tests.monitoring.prometheus_program import prometheus_programs
from tests.waiting import wait_for

MOST_POINTS = 10_000
"""Of a series in one answer; Prometheus refuses to give more than 11,000."""


@dataclass(frozen=True)
class Target:
    """What is scraped, with the labels that a PodMonitor would give it."""

    port: int
    labels: Mapping[str, str]
    honor_labels: bool = False


@dataclass(frozen=True)
class Prometheus:
    """A running one."""

    url: str
    began: float
    """When it did, in Unix time."""

    def get(self, path: str, **parameters: str | float) -> Any:
        """`data` of an answer of its API. Raises AssertionError with what it has against it."""
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=120) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None

    def numbers(self, expr: str) -> list[float]:
        """Every number that an expression gave so far, second by second, or MOST_POINTS of them;
        NaN, which a panel does not show, left out."""
        now = time.time()
        step = max(1.0, (now - self.began) / MOST_POINTS)
        data = self.get("query_range", query=expr, start=self.began, end=now, step=step)
        values = (float(value) for series in data["result"] for _, value in series["values"])
        return [value for value in values if not math.isnan(value)]

    def wait_for_data(self, expr: str) -> None:
        """Until an expression has given a number."""
        wait_for(lambda: bool(self.numbers(expr)), f"data of {expr}", every=1)

    def pages(self) -> dict[str, str]:
        """What is served now at every address that is scraped."""
        addresses = [target["scrapeUrl"] for target in self.get("targets")["activeTargets"]]
        found = {}
        for address in addresses:
            with urllib.request.urlopen(address, timeout=120) as answer:
                found[address] = answer.read().decode()
        return found

    def series(self, selector: str) -> list[dict[str, str]]:
        """Labels of every series that a selector finds."""
        found: list[dict[str, str]] = self.get("series", **{"match[]": selector})
        return found


def promtool(*words: str | Path, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    """Prometheus' own check of files and pages, to its end."""
    program = prometheus_programs()["promtool"]
    return subprocess.run(
        [program, *words], input=stdin, capture_output=True, text=True, check=False
    )


@contextmanager
def prometheus(
    folder: Path,
    scrape_configs: Sequence[Object],
    chart: Sequence[Object],
    every: int = 1,
) -> Iterator[Prometheus]:
    """One that runs until the end of the block, with the rules of a chart; what it has, it keeps in
    a folder.

    scrape_configs: in the form of its configuration file, for example of `static_targets`. every:
    seconds between two scrapes, and those that one may take.
    """
    rules, config, log = (folder / name for name in ("rules.yaml", "prometheus.yaml", "log"))
    rules.write_text(yaml.safe_dump(one([*chart], "PrometheusRule")["spec"]))
    config.write_text(yaml.safe_dump(_config(scrape_configs, rules, every)))
    address = f"127.0.0.1:{free_port()}"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                prometheus_programs()["prometheus"],
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=out,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,  # noqa: PLW1509
        )
    try:
        running = Prometheus(f"http://{address}", time.time())
        wait_for(lambda: _is_ready(running.url), "Prometheus", log.read_text)
        yield running
    finally:
        process.kill()
        process.wait()


def static_targets(targets: Sequence[Target]) -> list[Object]:
    """How ports of this machine are scraped."""
    return [
        {
            "job_name": f"target-{i}",
            "honor_labels": target.honor_labels,
            "static_configs": [
                {"targets": [f"127.0.0.1:{target.port}"], "labels": dict(target.labels)}
            ],
        }
        for i, target in enumerate(targets)
    ]


def _config(scrape_configs: Sequence[Object], rules: Path, every: int) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": f"{every}s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": list(scrape_configs),
    }


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
