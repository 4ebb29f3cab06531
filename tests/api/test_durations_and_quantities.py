"""Durations and amounts in Kubernetes' notation."""

from decimal import Decimal
from typing import Any

import pytest
from acereason_operator.api.durations import seconds
from acereason_operator.api.quantities import amount, cpu_count


@pytest.mark.parametrize(
    ("text", "value"),
    [("90s", 90), ("1h30m", 5400), ("500ms", 0.5), ("1.5h", 5400), ("0s", 0), ("1m1m", 120)],
)
def test_a_duration_has_a_length_in_seconds(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "90", "1d", "1h 30m", "-1s", "1h30", "s", "1,5h"])
def test_other_text_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration; write a number with h, m, s or ms"):
        seconds(text)


@pytest.mark.parametrize(
    ("quantity", "value"),
    [
        ("500m", "0.5"),
        ("2", "2"),
        (2, "2"),
        ("1.5", "1.5"),
        ("16Gi", str(16 * 2**30)),
        ("3k", "3000"),
        ("1M", "1000000"),
        ("1Mi", str(2**20)),
        ("5E", "5000000000000000000"),
        ("5Ei", str(5 * 2**60)),
        ("0.1Ki", "102.4"),
        ("0", "0"),
    ],
)
def test_an_amount_has_an_exact_value(quantity: str | int, value: str) -> None:
    assert amount(quantity) == Decimal(value)


@pytest.mark.parametrize("quantity", ["", "Gi", "16GB", "1 Gi", "-1", -1, "1e", True])
def test_other_things_are_no_amounts(quantity: Any) -> None:
    with pytest.raises(ValueError, match="is not an amount; write a number, or one with a suffix"):
        amount(quantity)


@pytest.mark.parametrize(("quantity", "cpus"), [("500m", 0.5), ("2", 2.0), ("1.5", 1.5), (1, 1.0)])
def test_cpus_are_counted_in_fractions(quantity: str | int, cpus: float) -> None:
    assert cpu_count(quantity) == cpus


def test_a_stage_without_cpu_cannot_run() -> None:
    with pytest.raises(ValueError, match="0 CPUs cannot run anything"):
        cpu_count("0")
