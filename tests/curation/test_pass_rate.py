"""Which prompts a measured pass rate keeps: both ends of the band belong to it."""

import pytest
from acereason_trainer.config.curate import PassRate
from acereason_trainer.curation.funnel import Step
from acereason_trainer.curation.pass_rate import in_band
from acereason_trainer.dataset import Row

BANDS = [
    (16, 0, 6, range(7), "AceReason 1.0: unsolved prompts stay, those solved 7 times go"),
    (16, 1, 15, range(1, 16), "only groups with a spread"),
    (16, 4, 4, [4], "a band of one value"),
    (16, 0, 16, range(17), "everything"),
    (4, 2, 3, [2, 3], "counts, not shares: of 4 attempts"),
]


@pytest.mark.parametrize(("samples", "low", "high", "kept", "why"), BANDS)
def test_a_prompt_stays_where_its_right_attempts_lie_in_the_band(
    samples: int, low: int, high: int, kept: "range | list[int]", why: str
) -> None:
    counts = range(samples + 1)
    rows = [Row(str(n), {"problem": "p", "pass_count": n, "samples": samples}, "") for n in counts]
    step = Step("passRate")
    band = PassRate(samples=samples, min_correct=low, max_correct=high)
    left = [row.data["pass_count"] for row in in_band(rows, band, step)]
    assert left == list(kept), why
    below, above = sum(n < low for n in counts), sum(n > high for n in counts)
    assert (step.dropped["minCorrect"], step.dropped["maxCorrect"]) == (below, above), why
    assert (step.rows_in, step.rows_out) == (samples + 1, len(left)), why
