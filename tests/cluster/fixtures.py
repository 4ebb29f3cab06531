"""The cluster of a test session: the first test that asks for it starts it."""

from collections.abc import Iterator, Sequence

import pytest

from tests.cluster import machine
from tests.cluster.cluster import Cluster
from tests.cluster.lifetime import running_cluster
from tests.cluster.programs import cluster_programs


def make_machine_ready() -> None:
    """Install packages and build programs; raises LeftOut where this machine cannot."""
    machine.make_ready()
    cluster_programs()


@pytest.fixture(scope="session")
def cluster_machine() -> None:
    """A machine that can carry a cluster; tests are left out, with a sentence, where this is
    none."""
    make_machine_ready()


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, cluster_machine: None) -> Iterator[Cluster]:
    """One cluster for the session.

    Its nodes have the project's images where a test asks for `cluster` and `images`.
    """
    asked = [set(getattr(item, "fixturenames", ())) for item in request.session.items]
    names: Sequence[str] = ()
    if any({"cluster", "images"} <= fixtures for fixtures in asked):
        names = list(request.getfixturevalue("images").values())
    with running_cluster(names) as running:
        yield running
