"""A machine carries one cluster: whoever starts one of its own comes before the session's."""

import pytest

from tests.cluster.lifetime import remove_abandoned


@pytest.fixture
def no_cluster(cluster_machine: None) -> None:
    """None runs on this machine, and nothing is left of one; for tests that start one."""
    remove_abandoned()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The session's cluster, of end-to-end tests too, ends with the session."""
    items.sort(key=lambda item: "no_cluster" not in getattr(item, "fixturenames", ()))
