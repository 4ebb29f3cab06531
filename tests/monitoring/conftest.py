"""A real Prometheus that scrapes a real operator, real stages and a real verifier."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# The operator's tests import each other's builders by their bare names.
sys.path.append(str(Path(__file__).parents[1] / "operator"))

from tests.chart.rendered_chart import rendered
from tests.controlplane.control_plane import ControlPlane
from tests.monitoring.prometheus import Prometheus, prometheus, static_targets
from tests.monitoring.scraped import scraped
from tests.trainer.conftest import tiny_model
from tests.waiting import wait_for

__all__ = ["tiny_model"]


@pytest.fixture(scope="module")
def observed(
    control_plane: ControlPlane, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """Prometheus beside all that it scrapes, under the chart's rules. Stages train all the time, so
    they end with the module that looks at them."""
    folder = tmp_path_factory.mktemp("observed")
    chart = rendered({"monitoring": {"create": "always"}, "verifier": {"enabled": True}})
    with (
        scraped(control_plane, tiny_model, chart, folder) as there,
        prometheus(folder, static_targets(there.targets), chart) as it,
    ):
        wait_for(lambda: bool(it.numbers("acereason_leader == 1")), "a leader to be seen")
        there.make_runs()
        yield it
