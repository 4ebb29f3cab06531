"""From what was counted to what is said: the pure part of the operator's benchmark."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Result = Mapping[str, Any]
QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
WRITES = ("create", "write_status", "apply", "delete")
LEASE_AND_RELISTS = ("replace", "list")
"""Verbs of what a replica does whatever the runs do."""


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """In milliseconds; the nearest rank, so each is a value that was measured."""
    ordered = sorted(seconds)
    if not ordered:
        return {}
    last = len(ordered) - 1
    return {
        name: round(1000 * ordered[min(int(q * len(ordered)), last)], 1)
        for name, q in QUANTILES.items()
    }


def of_histogram(before: Mapping[float, float], after: Mapping[float, float]) -> dict[str, float]:
    """Percentiles in milliseconds of what two readings of a histogram have between them.

    Linear inside a bucket; what is beyond the last bound counts as that bound.
    """
    counts = {bound: n - before.get(bound, 0) for bound, n in sorted(after.items())}
    total = max(counts.values(), default=0)
    if not total:
        return {}
    return {name: round(1000 * _quantile(counts, q * total), 1) for name, q in QUANTILES.items()}


def _quantile(counts: Mapping[float, float], rank: float) -> float:
    low, below = 0.0, 0.0
    for bound, count in counts.items():
        if bound == float("inf"):
            break
        if count >= rank:
            return low + (bound - low) * (rank - below) / (count - below)
        low, below = bound, count
    return low


def per_run(
    before: Mapping[str, float], after: Mapping[str, float], runs: int, jobs: int
) -> dict[str, Any]:
    """API requests of a run by verb, what a replica does without any run left out.

    jobs: made for all runs; what else was created are Events.
    """
    verbs = requests_between(before, after)
    events = verbs.get("create", 0) - jobs
    return {
        "byVerb": {verb: round(n / runs, 2) for verb, n in sorted(verbs.items())},
        "jobCreations": round(jobs / runs, 2),
        "events": round(events / runs, 2),
        "writesWithoutEvents": round((sum(verbs.get(v, 0) for v in WRITES) - events) / runs, 2),
    }


def requests_between(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """By verb, without those of the Lease and of relists."""
    verbs = {v: n - before.get(v, 0) for v, n in after.items() if v not in LEASE_AND_RELISTS}
    return {verb: n for verb, n in verbs.items() if n}


def growth(mib: Sequence[float]) -> float:
    """MiB from the middle of a row of equally spaced readings to its end, by a line through its
    second half."""
    half = mib[len(mib) // 2 :]
    if len(half) < 2:
        return 0.0
    middle, mean = (len(half) - 1) / 2, sum(half) / len(half)
    over = sum((i - middle) * (m - mean) for i, m in enumerate(half))
    return over / sum((i - middle) ** 2 for i in range(len(half))) * (len(half) - 1)


@dataclass(frozen=True)
class Goal:
    """A figure, and the most that it may be."""

    section: str
    name: str
    figure: Callable[[Any], float | None]
    """Of the section's result; None where that size was not measured."""
    at_most: float

    def judged(self, result: Result) -> dict[str, Any]:
        """What was measured, what is asked for, and whether it is so."""
        measured = self.figure(result[self.section])
        return {
            "goal": self.name,
            "asked": f"at most {self.at_most:g}",
            "measured": measured if measured is None else round(measured, 2),
            "met": measured is not None and measured <= self.at_most,
        }


MOST_MS = 150
GOALS = (
    Goal("idle", "MiB resident without runs", lambda r: r["residentMib"], 128),
    Goal("wholeRuns", "Job creations of a run", lambda r: r["perRun"]["jobCreations"], 8),
    Goal(
        "wholeRuns",
        "writes of a run besides Events",
        lambda r: r["perRun"]["writesWithoutEvents"],
        26,
    ),
    Goal(
        "wholeRuns",
        "requests in quiet seconds for finished and suspended runs",
        lambda r: sum(r["quiet"]["requests"].values()),
        0,
    ),
    *(
        Goal(
            "active",
            f"ms from a pod's end to the next Job, p99 at {runs:,} active runs",
            lambda sizes, runs=runs: _p99(sizes, runs),  # type: ignore[misc]
            MOST_MS,
        )
        for runs in (300, 1000)
    ),
    Goal("churn", "MiB of growth in the second half of the churn", lambda r: r["growthMib"], 2),
)


def goals_of(result: Result) -> list[dict[str, Any]]:
    """Every goal of what was measured. One whose size was not is missed."""
    return [goal.judged(result) for goal in GOALS if goal.section in result]


def missed(goals: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each goal that is not met."""
    return [
        f"{g['goal']}: {_told(g['measured'])}, must be {g['asked']}" for g in goals if not g["met"]
    ]


def _told(measured: float | None) -> str:
    return "not measured" if measured is None else f"{measured:g}"


def _p99(sizes: Sequence[Mapping[str, Any]], runs: int) -> float | None:
    found = [s["podEndToNextJobMs"]["p99"] for s in sizes if s["runs"] == runs]
    return float(found[0]) if found else None
