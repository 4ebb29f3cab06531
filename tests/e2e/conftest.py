"""The cluster with the chart on it, for all end-to-end tests; and what faults cost, at the end."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.e2e.costs import Costs
from tests.e2e.installation import Installation, installed

_COSTS = pytest.StashKey[Costs]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where `make e2e` leaves what docs/reliability.md shows."""
    parser.addoption("--costs", type=Path, help="write what faults cost to this JSON file")
    parser.addoption("--whole", action="store_true", help="run the whole quickstart")


@pytest.fixture(scope="session")
def installation(cluster: Cluster, images: Mapping[str, str]) -> Installation:
    """The chart on a cluster."""
    return installed(cluster, images)


@pytest.fixture(scope="session")
def whole(request: pytest.FixtureRequest) -> bool:
    """Whether the quickstart is run whole."""
    return bool(request.config.getoption("whole", None))


@pytest.fixture(scope="session")
def costs(request: pytest.FixtureRequest) -> Iterator[Costs]:
    """What faults cost."""
    noted = request.config.stash.setdefault(_COSTS, Costs())
    yield noted
    if file := request.config.getoption("costs", None):
        noted.write(file)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of costs."""
    if noted := terminalreporter.config.stash.get(_COSTS, None):
        terminalreporter.section("what faults cost")
        terminalreporter.line(noted.table())
