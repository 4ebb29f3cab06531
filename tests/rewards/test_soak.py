"""A thousand hostile and ordinary checks in a row leave nothing behind."""

import pytest

from tests.rewards.soak import soak


@pytest.mark.slow
def test_a_thousand_checks_leave_nothing_behind() -> None:
    """About 30 s on two cores. Ten thousand: `python -m tests.rewards.soak`."""
    report = soak(1000)
    assert report.problems() == []
    assert len(report.verdicts) >= 6
