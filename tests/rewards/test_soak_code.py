"""A thousand hostile and ordinary programs in a row leave nothing behind."""

import pytest

from tests.rewards.soak_code import soak


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_thousand_programs_leave_nothing_behind() -> None:
    """About 15 s on two cores. Ten thousand: `python -m tests.rewards.soak_code`."""
    report = soak(1000)
    assert report.problems() == []
    assert len(report.verdicts) >= 6
