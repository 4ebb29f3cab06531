"""A Prometheus that watches the cluster all the time: it scrapes what PodMonitors select."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path

from tests.e2e.installation import Installation
from tests.e2e.pod_discovery import PodDiscovery
from tests.monitoring.prometheus import Prometheus, prometheus

EVERY = 2.0
"""Seconds between two looks for pods."""
SCRAPED_EVERY = 3
"""Seconds: a second is little for who answers beside a run that needs the cores."""


@contextmanager
def watching(installation: Installation, folder: Path) -> Iterator[Prometheus]:
    """One that runs until the end of the block, with the chart's rules."""
    discovery = PodDiscovery(folder, installation.monitored_chart())
    enough = threading.Event()

    def look() -> None:
        control_plane = installation.cluster.control_plane
        while not enough.wait(EVERY):
            with suppress(OSError, HTTPException):  # some tests take the API server away
                discovery.look(control_plane.request("GET", "/api/v1/pods")["items"])

    configs = discovery.scrape_configs()
    with prometheus(folder, configs, discovery.chart, SCRAPED_EVERY) as server:
        looking = threading.Thread(target=look)
        looking.start()
        try:
            yield server
        finally:
            enough.set()
            looking.join()
