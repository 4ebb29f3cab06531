"""What many steps, few seeds or many problems say: quartiles or intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from statistics import fmean, median, quantiles, stdev

import numpy as np

STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306,
           10: 2.262}  # fmt: skip
"""Two-sided 95 % quantile of Student's t, by the number of values."""


def quartiles(values: Sequence[float], digits: int = 4) -> dict[str, float]:
    """Median and the middle half around it: one step that the machine held up moves neither."""
    low, middle, high = (
        quantiles(values, n=4, method="inclusive") if len(values) > 1 else ([values[0]] * 3)
    )
    return {
        "median": round(middle, digits),
        "low": round(low, digits),
        "high": round(high, digits),
    }


def median_interval(values: Sequence[float], digits: int = 4) -> dict[str, float]:
    """Median with its 95 % interval, which supposes nothing of how the values are spread: between
    two of them, by the binomial distribution (of fewer than 6, the smallest and the largest)."""
    ordered, number, outside = sorted(values), len(values), 0.0
    low = 0
    for below in range(number // 2):
        outside += 2 * comb(number, below) / 2**number
        if outside > 0.05:
            break
        low = below
    return {
        "median": round(median(ordered), digits),
        "low": round(ordered[low], digits),
        "high": round(ordered[number - 1 - low], digits),
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


def resampled_interval(
    differences: Sequence[Sequence[float]], resamples: int = 10_000
) -> tuple[float, float]:
    """95 % percentile interval of the mean of differences[seed][problem], both drawn anew.

    Seeds are drawn with replacement, and so are the problems, which all seeds share (a bootstrap of
    crossed factors: Owen 2007): problems alone would leave out that training with another seed ends
    elsewhere. Of few seeds it knows that noise roughly, and takes it for somewhat too small.
    """
    values = np.asarray(differences, dtype=np.float64)
    generator = np.random.Generator(np.random.Philox(key=0))
    seeds, problems = (
        generator.multinomial(size, [1 / size] * size, resamples) / size for size in values.shape
    )
    means = ((seeds @ values) * problems).sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
