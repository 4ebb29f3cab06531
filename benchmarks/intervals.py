"""What many steps or few seeds say: quartiles of the one, intervals of the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, quantiles, stdev

STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306,
           10: 2.262}  # fmt: skip
"""Two-sided 95 % quantile of Student's t, by the number of values."""


def quartiles(values: Sequence[float], digits: int = 4) -> dict[str, float]:
    """Median and the middle half around it: one step that the machine held up moves neither."""
    low, median, high = (
        quantiles(values, n=4, method="inclusive") if len(values) > 1 else ([values[0]] * 3)
    )
    return {
        "median": round(median, digits),
        "low": round(low, digits),
        "high": round(high, digits),
    }


@dataclass(frozen=True)
class Difference:
    """Mean of B - A over seeds, with its 95 % interval."""

    mean: float
    low: float
    high: float
    seeds: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


def paired_difference(a: Sequence[float], b: Sequence[float]) -> Difference:
    """B - A, seed by seed: what a seed makes easy or hard for both cancels.

    Student's t over 2 to 10 differences; an interval of one would be endless, and is refused with
    KeyError.
    """
    differences = [y - x for x, y in zip(a, b, strict=True)]
    half = STUDENT[len(differences)] * stdev(differences) / len(differences) ** 0.5
    mean = fmean(differences)
    return Difference(mean, mean - half, mean + half, len(differences))
