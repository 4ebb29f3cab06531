"""The cluster with the chart on it, for all end-to-end tests; and what they measure."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests import measured
from tests.cluster.cluster import Cluster
from tests.e2e.costs import Costs
from tests.e2e.installation import Installation, installed, wait_for_operator
from tests.e2e.watching import watching
from tests.monitoring.prometheus import Prometheus

ORDER = (
    "test_installation",
    "test_quickstart",
    "test_security",
    "test_what_faults_cost",
    "test_releases",
)


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
def observed(
    installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """A Prometheus that watches the cluster from here on."""
    with watching(installation, tmp_path_factory.mktemp("prometheus")) as server:
        yield server


@pytest.fixture
def an_operator_that_works(installation: Installation) -> Iterator[None]:
    """A test begins with one, and leaves no run and no pod of one."""
    wait_for_operator(installation)
    yield
    installation.delete_runs()


@pytest.fixture(scope="session")
def whole(request: pytest.FixtureRequest) -> bool:
    """Whether the quickstart is run whole."""
    return bool(request.config.getoption("whole", None))


@pytest.fixture(scope="session")
def costs(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Costs]:
    """What is measured: printed at the end, and written where that was asked for and no test has
    failed."""
    noted = Costs(cluster.seconds_to_load, cluster.seconds_to_start, len(cluster.images_unpacked))
    yield noted
    measured.tell(request.config, noted.told())
    file = request.config.getoption("costs", None)
    if file and not request.session.testsfailed:
        noted.write(file)
