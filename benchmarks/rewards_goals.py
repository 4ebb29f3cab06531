"""What the rewards must show, each as a figure of the result and a bound."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.rewards_math import GENERATED, OWN

Result = dict[str, Any]


@dataclass(frozen=True)
class Goal:
    """A figure, and what it must be."""

    section: str
    name: str
    figure: Callable[[Result], float]
    """Of the section's result."""
    at_least: float = -float("inf")
    at_most: float = float("inf")

    def judged(self, result: Result) -> dict[str, Any]:
        """What was measured, what is asked for, and whether it is so."""
        figure = self.figure(result[self.section])
        low, high = self.at_least, self.at_most
        return {
            "goal": f"{self.section}: {self.name}",
            "asked": f"at least {low:g}" if high == float("inf") else f"at most {high:g}",
            "measured": round(figure, 3),
            "met": low <= figure <= high,
        }


def _times(pairs: str) -> Callable[[Result], float]:
    return lambda math: float(math["sets"][pairs]["times"])


def _of_both(count: Callable[[Result], int]) -> Callable[[Result], float]:
    return lambda batch: count(batch["math"]) + count(batch["code"])


def _stopped(bombs: Result) -> int:
    return sum(b["verdict"] in ("timeout", "memory") for b in bombs["stopped"].values())


def _overrun(bombs: Result) -> float:
    worst = max(float(b["seconds"]) for b in bombs["stopped"].values())
    return worst - float(bombs["deadlineSeconds"])


def _with_bombs(figure: str) -> Callable[[Result], float]:
    return lambda bombs: bombs["exact"][figure]["bombs"] / bombs["exact"][figure]["calm"]


def _symbolic_rate(bombs: Result) -> float:
    """Verdicts a second as a multiple of what is left if every answer runs into the deadline."""
    return float(bombs["symbolic"]["perSecond"] * bombs["deadlineSeconds"] / bombs["workers"])


GOALS = (
    Goal("math", "times math-verify's pairs/s, its own pairs", _times(OWN), at_least=10),
    Goal("math", "times math-verify's pairs/s, generated pairs", _times(GENERATED), at_least=10),
    Goal("math", "ms that 99 % of the verdicts take", lambda r: r["ours"]["p99Ms"], at_most=50),
    Goal(
        "math",
        "disagreements with math-verify that are not listed with a reason",
        lambda math: len(math["agreement"]["unlisted"]),
        at_most=0,
    ),
    Goal(
        "math",
        "wrong verdicts on generated pairs",
        lambda math: len(math["generatedMistakes"]["ours"]),
        at_most=0,
    ),
    Goal("math", "verdicts that differ between rounds", lambda r: r["changing"], at_most=0),
    Goal("code", "ms of a trivial program with one test", lambda r: r["firstMs"], at_most=5),
    Goal("code", "ms of each further test", lambda r: r["furtherMs"], at_most=3),
    Goal("code", "wrong verdicts", lambda r: r["mistakes"]["ours"], at_most=0),
    Goal("batch", "wrong verdicts", _of_both(lambda b: b["mistakes"]), at_most=0),
    Goal(
        "batch",
        "infrastructure errors",
        _of_both(lambda b: b["verdicts"].get("infra_error", 0)),
        at_most=0,
    ),
    Goal("bombs", "kinds of answers that run into the deadline", _stopped, at_least=1),
    Goal("bombs", "seconds beyond the deadline, the worst", _overrun, at_most=0.5),
    Goal("bombs", "exact lane's p99, times that without bombs", _with_bombs("p99Ms"), at_most=2),
    Goal(
        "bombs",
        "exact lane's pairs/s, share of those without bombs",
        _with_bombs("pairsPerSecond"),
        at_least=0.5,
    ),
    Goal(
        "bombs", "symbolic lane's verdicts/s, times workers / deadline", _symbolic_rate, at_least=1
    ),
)
