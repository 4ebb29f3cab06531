"""Is one checkpoint better than another, on the same problems? A paired bootstrap over problems."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from acereason_trainer.evaluation.results import SetResult

_CELLS = 4_000_000
"""Numbers held at once while resampling."""


@dataclass(frozen=True)
class Interval:
    """A difference of accuracies, B - A, and how sure it is."""

    problems: int
    """Problems that both measured."""
    difference: float
    """Mean over problems of B's share of right answers minus A's."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end."""
    confidence: float
    """Share of resamples inside."""


def paired_interval(
    differences: Sequence[float],
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Percentile interval of the mean of per-problem differences.

    Problems are drawn with replacement, each with both of its results, so that what makes a problem
    hard for both cancels (Efron and Tibshirani 1993, chapter 13).
    """
    values = np.asarray(differences, dtype=np.float64)
    generator = np.random.Generator(np.random.Philox(key=seed))
    rows = max(1, _CELLS // len(values))
    means = np.concatenate(
        [
            values[
                generator.integers(len(values), size=(min(rows, resamples - done), len(values)))
            ].mean(axis=1)
            for done in range(0, resamples, rows)
        ]
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(len(values), float(values.mean()), float(low), float(high), confidence)


def per_problem_differences(a: SetResult, b: SetResult) -> list[float]:
    """B's share of right answers minus A's, problem by problem.

    Raises ValueError where the two did not measure the same problems.
    """
    left, right = a.tallies(), b.tallies()
    if left.keys() != right.keys():
        alone = len(left.keys() ^ right.keys())
        raise ValueError(
            f"set {a.name}: {alone} problems are in only one of the two results; compare "
            "evaluations of the same file with the same maxProblems and seed"
        )
    return [right[i].correct / right[i].checked - left[i].correct / left[i].checked for i in left]
