"""Rules for the whole suite: what a machine cannot carry is left out, with the reason, and on
continuous integration a skipped test is a failed one.

Tests that need a real API server ask for the fixture `control_plane`, those that need the project's
images for `images`, those that need nodes and containers for `cluster`.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from tests.cluster.fixtures import cluster, cluster_machine, make_machine_ready
from tests.controlplane import lifetimes
from tests.controlplane.fixtures import control_plane, control_plane_machine
from tests.images import built
from tests.images.fixtures import gpu_trainer, images
from tests.left_out import LeftOut

__all__ = [  # fixtures of every test
    "cluster",
    "cluster_machine",
    "control_plane",
    "control_plane_machine",
    "gpu_trainer",
    "images",
]

pytest_plugins = ["tests.measured"]

# A busy machine is slow, and that is no fault of what is tested.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

_skipped: dict[str, list[str]] = {}
"""The tests that each reason has skipped."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """What tests/images/gpu_trainer.py looks at."""
    parser.addoption("--gpu-trainer", help="the trainer's image for GPUs, as make images built it")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what tests need before the clock of the first of them runs."""
    if session.config.option.collectonly:
        return
    needed = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    if session.config.option.gpu_trainer:
        needed.discard("images")  # that one is given
    for fixture, make in (
        ("control_plane_machine", lifetimes.make_ready),
        ("images", built.images),
        ("cluster_machine", make_machine_ready),
    ):
        if fixture in needed:
            with contextlib.suppress(LeftOut):  # who asks for the fixture meets it again
                make()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Iterator[None]:
    """A test whose fixtures this machine cannot have is skipped."""
    with _left_out_is_skipped():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """So is one that finds out by itself."""
    with _left_out_is_skipped():
        return (yield)


@contextlib.contextmanager
def _left_out_is_skipped() -> Iterator[None]:
    try:
        yield
    except LeftOut as why:
        pytest.skip(str(why))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """One worker gets all tests of the cluster, since a machine carries one; others come singly."""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class OneCluster(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return "cluster" if nodeid.startswith(("tests/cluster/", "tests/e2e/")) else nodeid

    return OneCluster(config, log)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note every skip with its reason."""
    if report.skipped and not hasattr(report, "wasxfail"):
        _note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A module that skips itself while it is collected is noted too."""
    if report.skipped:
        _note(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Under CI=true, end with a failure where something was skipped."""
    if _counts() and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which tests were skipped, and why."""
    if _counts():
        terminalreporter.section("skipped under CI=true: each counts as a failure", red=True)
        for reason, tests in _skipped.items():
            terminalreporter.line(f"{reason}\n  {', '.join(dict.fromkeys(tests))}")


def _counts() -> bool:
    return os.environ.get("CI") == "true" and bool(_skipped)


def _note(report: pytest.TestReport | pytest.CollectReport) -> None:
    where = report.longrepr
    reason = str(where[2] if isinstance(where, tuple) else where)
    _skipped.setdefault(reason, []).append(report.nodeid)
