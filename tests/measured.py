"""What tests have measured, printed at the end; with `-n`, by another process than measured it.

A plugin of the whole suite, since that process loads no conftest of a folder.
"""

from typing import Any

import pytest

_TOLD = pytest.StashKey[str]()


def tell(config: Any, told: str) -> None:
    """Have it printed at the end."""
    config.stash[_TOLD] = told
    if hasattr(config, "workeroutput"):
        config.workeroutput["measured"] = told


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take it from a worker."""
    if told := getattr(node, "workeroutput", {}).get("measured"):
        node.config.stash[_TOLD] = told


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print it."""
    if told := terminalreporter.config.stash.get(_TOLD, None):
        terminalreporter.section("what was measured")
        terminalreporter.line(told)
