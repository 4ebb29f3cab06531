"""The profile of a step sees the product's own policy from within, by names that may change."""

from pathlib import Path

import pytest

from benchmarks.trainer_profile import KINDS, OPTIMIZER, REST, sft_profile


def test_every_part_of_a_step_is_found(tiny_model: Path) -> None:
    found = sft_profile(tiny_model, steps=1)
    assert set(found["shares"]) == {OPTIMIZER, *KINDS, REST}
    assert min(found["shares"].values()) > 0
    assert sum(found["shares"].values()) == pytest.approx(1, abs=0.01)
    assert found["slowedByProfiler"] > 0
