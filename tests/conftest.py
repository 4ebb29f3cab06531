"""Rules for the whole suite: on continuous integration a skipped test is a failed one.

Tests that need a real API server ask for the fixture `control_plane`, those that need the project's
images for `images`, those that need nodes and containers for `cluster`.
"""

import contextlib
import os
from typing import Any

import pytest
from hypothesis import settings

from tests.cluster.fixtures import cluster, cluster_machine, make_machine_ready
from tests.cluster.machine import LeftOut
from tests.controlplane.fixtures import control_plane
from tests.controlplane.programs import programs
from tests.images import built
from tests.images.fixtures import images

__all__ = ["cluster", "cluster_machine", "control_plane", "images"]  # fixtures of every test

# A busy machine is slow, and that is no fault of what is tested.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

_skipped: list[str] = []


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what tests need before the clock of the first of them runs."""
    needed = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    if session.config.option.collectonly:
        return
    if "control_plane" in needed:
        programs()
    if "images" in needed:
        with contextlib.suppress(built.CannotBuild):  # the fixture skips, with the reason
            built.images()
    if "cluster_machine" in needed:
        with contextlib.suppress(LeftOut):  # the fixture skips, with the reason
            make_machine_ready()


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
        _skipped.append(f"{report.nodeid}: {_reason(report)}")


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A module that skips itself while it is collected is noted too."""
    if report.skipped:
        _skipped.append(f"{report.nodeid}: {_reason(report)}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Under CI=true, end with a failure where something was skipped."""
    if _counts() and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which tests were skipped, and why."""
    if _counts():
        terminalreporter.section("skipped under CI=true: each counts as a failure", red=True)
        for line in dict.fromkeys(_skipped):
            terminalreporter.line(line)


def _counts() -> bool:
    return os.environ.get("CI") == "true" and bool(_skipped)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    where = report.longrepr
    return str(where[2] if isinstance(where, tuple) else where)
