"""The fixture of tests that need the project's images."""

from collections.abc import Mapping

import pytest

from tests.images import built


@pytest.fixture(scope="session")
def images() -> Mapping[str, str]:
    """References of the images by part; see `built.images`, also for what they cost."""
    try:
        return built.images()
    except built.CannotBuild as why:
        pytest.skip(str(why))
