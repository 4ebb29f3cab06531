"""Fixtures of tests that need a real API server. The first one in a session starts it."""

import os
import secrets
from collections.abc import Iterator

import pytest

from tests.controlplane.control_plane import ControlPlane
from tests.controlplane.lifetimes import make_ready, shared_control_plane


@pytest.fixture(scope="session")
def control_plane_machine() -> None:
    """A machine that can carry control planes; tests are left out, with a sentence, where this is
    none."""
    make_ready()


@pytest.fixture(scope="session")
def control_plane(control_plane_machine: None) -> Iterator[ControlPlane]:
    """One control plane for all workers of a test run, with the CRD of AceReasonRun installed.

    Tests keep apart by `new_namespace()`. Whoever stops or pauses its programs takes
    `private_control_plane()`.
    """
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or secrets.token_hex(4)
    with shared_control_plane(f"tests-{run[:12]}") as control_plane:
        yield control_plane
