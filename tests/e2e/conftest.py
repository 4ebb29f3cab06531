"""The cluster with the chart on it, for all end-to-end tests; and what faults cost, at the end."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.e2e.costs import Costs
from tests.e2e.installation import Installation, installed

ORDER = ("test_installation", "test_quickstart", "test_security", "test_faults")
_COSTS = pytest.StashKey[Costs]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where `make e2e` leaves what docs/reliability.md shows."""
    parser.addoption("--costs", type=Path, help="write what faults cost to this JSON file")
    parser.addoption("--whole", action="store_true", help="run the whole quickstart")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What disturbs the installation comes last."""
    here = Path(__file__).parent
    places = [n for n, item in enumerate(items) if item.path.parent == here]
    ordered = sorted((items[n] for n in places), key=lambda item: ORDER.index(item.path.stem))
    for place, item in zip(places, ordered, strict=True):
        items[place] = item


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
    asked = sum("costs" in getattr(item, "fixturenames", ()) for item in request.session.items)
    if (file := request.config.getoption("costs", None)) and len(noted.noted) == asked:
        noted.write(file)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of costs."""
    if noted := terminalreporter.config.stash.get(_COSTS, None):
        terminalreporter.section("what faults cost")
        terminalreporter.line(noted.table())
