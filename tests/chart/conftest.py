"""Tests of the Helm chart."""

from pathlib import Path

import pytest

from tests.chart.helm_program import helm_program
from tests.chart.kubeconform_program import kubeconform_program
from tests.chart.monitor_definitions import monitor_definitions


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build and fetch what is missing before the clock of the first test that needs it runs."""
    ours = any(Path(__file__).parent in item.path.parents for item in session.items)
    if ours and not session.config.option.collectonly:
        helm_program()
        kubeconform_program()
        monitor_definitions()
