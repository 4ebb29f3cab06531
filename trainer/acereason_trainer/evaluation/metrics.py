"""What a measurement says: avg@k with its standard error, unbiased pass@k. Pure numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True)
class Tally:
    """One problem's answers."""

    correct: int
    """Right answers."""
    checked: int
    """Answers that have a verdict."""


def accuracy(tallies: Sequence[Tally]) -> float:
    """avg@k: the mean over problems of the share of right answers (AceReason 1.0 section 4.1)."""
    return fmean(t.correct / t.checked for t in tallies)


def standard_error(tallies: Sequence[Tally]) -> float | None:
    """Standard error of avg@k over problems: std of the problems' own means / sqrt(problems).

    Problems are what a benchmark is a sample of, so their spread (n - 1 in the denominator) decides
    how far another draw of problems would lie; it contains the spread of the answers. None for one
    problem.
    """
    if len(tallies) < 2:
        return None
    return stdev(t.correct / t.checked for t in tallies) / math.sqrt(len(tallies))


def pass_at_k(tally: Tally, k: int) -> float:
    """Probability that at least one of k answers drawn without replacement is right.

    1 - C(n - c, k) / C(n, k), the unbiased estimator of Chen et al. 2021 (arXiv 2107.03374),
    section 2.1, for c right answers of n. Raises ValueError for k above n.
    """
    if k > tally.checked:
        raise ValueError(f"pass@{k} needs {k} checked answers; there are {tally.checked}")
    return 1 - math.comb(tally.checked - tally.correct, k) / math.comb(tally.checked, k)


def mean_pass_at_k(tallies: Sequence[Tally], k: int) -> float:
    """pass@k of a set: the mean over its problems."""
    return fmean(pass_at_k(t, k) for t in tallies)
