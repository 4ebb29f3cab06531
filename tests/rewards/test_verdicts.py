"""What is made of verdicts: a histogram in the metrics, and an answer only where it may stand."""

from collections.abc import Sequence

import pytest
from acereason_trainer.config.common import CodeLimits, Prompting, Verifier
from acereason_trainer.config.evaluate import Evaluate
from acereason_trainer.evaluation.stage import rewarders_of
from acereason_trainer.rewards import Grade, Verdict
from acereason_trainer.rewards.verdict_metrics import verdict_shares, walls_missing
from acereason_trainer.telemetry.metrics import METRICS

DEEP = "```python\ndef f(n):\n    return n and f(n - 1)\nprint(f(gcd(4000, 8000)) + 1)\n```"
"""As LiveCodeBench's checker allows it: deeper than Python does, and with a name not imported."""
FAST = Verifier(workers=1, code=CodeLimits(seconds_per_test=1, memory_mib=256))


def test_every_verdict_has_its_share_among_the_metrics() -> None:
    shares = verdict_shares([Verdict.CORRECT, Verdict.WRONG, Verdict.WRONG, Verdict.INFRA_ERROR])
    assert sum(shares.values()) == 1
    assert shares["wrong_share"] == 0.5
    assert shares["timeout_share"] == 0
    assert {*shares, *walls_missing([])} <= METRICS.keys()


@pytest.mark.parametrize(
    ("missing", "number"), [([], 0), ([()], 0), ([(), ("landlock", "seccomp"), ()], 2)]
)
def test_missing_walls_are_counted_where_they_are_missing_most(
    missing: Sequence[tuple[str, ...]], number: int
) -> None:
    grades = [Grade(Verdict.CORRECT, 1.0, missing_walls=walls) for walls in missing]
    assert walls_missing(grades) == {"walls_missing": number}


@pytest.mark.parametrize(
    ("think_open", "comparator", "response", "verdict"),
    [
        ("<think>\n", "exact", "```python\nprint(1)\n```", Verdict.FORMAT),
        ("", "exact", "```python\nprint(1)\n```", Verdict.CORRECT),
        ("", "exact", "```python\nprint(2)\n```</think>", Verdict.FORMAT),
        ("", "exact", "```python\nprint('+1.0')\n```", Verdict.CORRECT),
        ("", "exact", "```python\nprint('+1')\n```", Verdict.WRONG),
        ("", "lcb", "```python\nprint('+1')\n```", Verdict.CORRECT),
        ("", "exact", DEEP, Verdict.RUNTIME_ERROR),
        ("", "lcb", DEEP, Verdict.CORRECT),
    ],
)
def test_an_evaluation_checks_as_its_settings_say(
    think_open: str, comparator: str, response: str, verdict: Verdict
) -> None:
    settings = Evaluate.model_validate(
        {
            "sets": [{"name": "s", "file": "s.jsonl"}],
            "prompting": Prompting(think_open=think_open),
            "codeComparator": comparator,
        }
    )
    rewarder = rewarders_of(settings)("code", FAST)
    try:
        tests = [{"stdin": "", "stdout": "1"}] * 2
        found = rewarder.submit({"tests": tests}, response).result(60)
    finally:
        rewarder.close()
    assert found.verdict is verdict
    if verdict is not Verdict.FORMAT:
        assert found.passed == (verdict is Verdict.CORRECT,) * 2
