"""Tests that take `on: Scene` are scenarios: they are played all at once (`scenarios/play.py`), and
each test tells the outcome of its own."""

import inspect
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from scenarios.play import Outcomes, outcomes

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("test_*_on_a_server.py"))


@pytest.fixture(scope="session")
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """The outcomes of all scenarios that this session has collected."""
    found = {
        item.nodeid: partial(item.obj, **_parameters(item))
        for item in request.session.items
        if isinstance(item, pytest.Function) and _is_scenario(item.obj)
    }
    chosen = {Path(nodeid.partition("::")[0]).name for nodeid in found}
    whole = not request.config.option.keyword and chosen == {file.name for file in SCENARIOS}
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    return outcomes(found, folder, whole=whole)


@pytest.fixture
def on(played: Outcomes, request: pytest.FixtureRequest) -> str:
    """How the scenario of this test failed; empty where it did not."""
    return played.failures.get(request.node.nodeid, played.operator)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever asks first for an outcome waits for all of them."""
    for item in items:
        if "played" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """A scenario was played before: tell how it ended."""
    if not _is_scenario(pyfuncitem.obj):
        return None
    if failure := pyfuncitem.funcargs["on"]:
        pytest.fail(failure, pytrace=False)
    return True


def _is_scenario(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) and "on" in inspect.signature(function).parameters


def _parameters(item: pytest.Function) -> dict[str, Any]:
    return item.callspec.params if hasattr(item, "callspec") else {}
