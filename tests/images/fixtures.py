"""The fixtures of tests that need the project's images."""

from collections.abc import Mapping

import pytest

from tests.images import built


@pytest.fixture(scope="session")
def gpu_trainer(request: pytest.FixtureRequest) -> str | None:
    """The trainer's image for GPUs that --gpu-trainer names."""
    name: str | None = request.config.option.gpu_trainer
    return name


@pytest.fixture(scope="session")
def images(gpu_trainer: str | None) -> Mapping[str, str]:
    """References of the images by part; see `built.images`, also for what they cost. With
    --gpu-trainer only the one that it names, and nothing is built."""
    return {"trainer": gpu_trainer} if gpu_trainer else built.images()
