r"""What 1 in 20 answers that blow up does to all the others.

Guards refuse most explosive answers unread; what gets past them must run into the deadline of the
symbolic lane and disturb nobody else. First each candidate is graded alone, to see what it costs.
Where none comes near the usual deadline, the measurement's is set to half of what the costliest
takes, so that there is something to stop. Then a batch of which 5 % run into the deadline is handed
over, and while the symbolic lane works through it, bursts of plain answers are graded one after
another, as further responses end. The same without bombs is the measure.

One core is left to the trainer's own process, as on a machine that trains.
"""

import contextlib
import os
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from typing import Any

from acereason_trainer.config.common import Verifier
from acereason_trainer.rewards.protocol import Grade, Rewarder, Verdict
from acereason_trainer.rewards.rewarder import make_rewarder

from benchmarks.rewards_contest import percentile
from benchmarks.rewards_pairs import Pair, endless_pairs, generated_pairs, response_with

LONGEST_DEADLINE = 0.5
"""CPU seconds of one comparison in this measurement, at most (the default is longer; the shorter,
the more bombs fit into it)."""
PATIENCE = 2.0
"""CPU seconds after which a candidate is known to be costly enough."""
SHARE = 0.05
SYMBOLIC_SHARE = 0.2
BURST, BURST_SECONDS = 500, 0.25
CALM_BURSTS = 20

Case = tuple[dict[str, str], str]
"""Row and response."""

CANDIDATES: dict[str, tuple[str, str]] = {
    "tower": ("7", r"10^{10^{10}}"),
    "factorial": ("7", r"(10^9)!"),
    "nested factorials": ("7", r"((10!)!)!"),
    "binomial": ("7", r"\binom{10^9}{5 \cdot 10^8}"),
    "sum": ("7", r"\sum_{k=1}^{10^9} \frac{1}{k^3}"),
    "power of a power": ("x+1", r"((x^{1000})^{1000})^{1000}"),
    "power of a sum": ("x+1", r"((((x+y+z)^{99})^{99})^{99})^{99}"),
    "tower of roots": ("x+1", r"((((x+\sqrt{2})^{900})^{900})^{900})^{900}"),
    "sine of a tower": ("7", r"\sin(2^{2^{2^{2^{2^{2}}}}})"),
    "exponentials": ("x+1", r"e^{e^{e^{e^{e^{x}}}}}"),
    "exponentials of a number": ("7", r"e^{e^{e^{e^{10}}}}"),
    "gamma of a root": ("7", r"(10^{9}\sqrt{2})!"),
    "factorial of x": ("x+1", r"((x^{50}+1)!)!"),
    "zero in disguise": (
        "0",
        r"\sin(10^{30}\pi+\frac{1}{10^{90}}) - \sin(\frac{1}{10^{90}}) + \cos(e^{99})",
    ),
    "floor of a tower": ("7", r"\lfloor e^{e^{e^{7}}} \rfloor"),
    "tangents": ("x+1", r"\tan(\tan(\tan(\tan(\tan(\tan(10^{50}x))))))"),
    "many roots": ("7", "+".join(f"\\sqrt{{{n}+\\sqrt{{{n + 1}}}}}" for n in range(2, 90))),
    **{
        f"{n} sums": (
            r"\sum_{k=0}^{n-1} F_k F_{n-k-1}",
            "+".join(rf"\sum_{{k=0}}^{{n-{i}}} F_k F_{{n-k-{i}}}" for i in range(1, n + 1)),
        )
        for n in (4, 5, 6)
    },
    "many sines": ("x+1", "".join(f"+\\sin({n}x)\\cos({n}y)" for n in range(2, 40))[1:]),
}
"""Reference and answer."""


@dataclass
class Stream:
    """What came of one stream of plain answers."""

    latencies: list[float]
    """Seconds of each plain answer."""
    symbolic: Counter[str]
    """Verdicts of the symbolic lane."""
    symbolic_seconds: float
    """Until the last of them was there."""

    @property
    def exact_rate(self) -> float:
        """Plain answers a second, while a burst lasts."""
        return len(self.latencies) / sum(self.latencies)


def behaviour_under_bombs(batch: int) -> dict[str, Any]:
    """Figures for a batch of so many answers; see the module's text."""
    workers = max(1, len(os.sched_getaffinity(0)) - 1)
    costs = _alone(CANDIDATES, PATIENCE)
    costliest = max(cost["seconds"] for cost in costs.values())
    deadline = min(LONGEST_DEADLINE, round(costliest / 2, 3))
    past = [name for name, cost in costs.items() if cost["seconds"] > deadline]
    stopped = _alone(past, deadline)
    bombs = [n for n in past if stopped[n]["verdict"] in (Verdict.TIMEOUT, Verdict.MEMORY)] or past
    exact = endless_pairs(lane="exact")
    symbolic = generated_pairs(int(SYMBOLIC_SHARE * batch), lane="symbolic")
    calm = _stream(workers, deadline, exact, [_case(pair) for pair in symbolic], CALM_BURSTS)
    others = [_case(pair) for pair in symbolic] + _bombs(bombs, int(SHARE * batch))
    random.Random(0).shuffle(others)
    bombed = _stream(workers, deadline, exact, others, CALM_BURSTS)
    return {
        "workers": workers,
        "deadlineSeconds": deadline,
        "costs": costs,
        "stopped": {name: stopped[name] for name in bombs},
        "batch": batch,
        "bombs": int(SHARE * batch),
        "exact": {
            "pairs": {"calm": len(calm.latencies), "bombs": len(bombed.latencies)},
            "p99Ms": {
                "calm": round(1000 * percentile(calm.latencies, 0.99), 4),
                "bombs": round(1000 * percentile(bombed.latencies, 0.99), 4),
            },
            "pairsPerSecond": {"calm": round(calm.exact_rate), "bombs": round(bombed.exact_rate)},
        },
        "symbolic": {
            "verdicts": dict(bombed.symbolic),
            "seconds": round(bombed.symbolic_seconds, 2),
            "perSecond": round(bombed.symbolic.total() / bombed.symbolic_seconds, 2),
        },
    }


def _alone(names: Iterable[str], deadline: float) -> dict[str, dict[str, Any]]:
    """Verdict of each candidate and the seconds until it was there, by name."""
    found = {}
    with _rewarder(1, deadline) as rewarder:
        ready = endless_pairs(seed=2, lane="symbolic")
        for name in names:
            reference, answer = CANDIDATES[name]
            began = time.perf_counter()
            grade = rewarder.submit({"answer": reference}, response_with(answer)).result()
            seconds = time.perf_counter() - began
            found[name] = {"verdict": str(grade.verdict), "seconds": round(seconds, 3)}
            # A worker that died of it is started anew outside of what is timed.
            for pair in islice(ready, 4):
                _submit(rewarder, _case(pair)).result()
    return found


def _stream(
    workers: int, deadline: float, exact: Iterator[Pair], others: Sequence[Case], least_bursts: int
) -> Stream:
    """Hand over the others at once, then bursts of plain answers until all others are graded."""
    latencies: list[float] = []
    ends: list[float] = []
    with _rewarder(workers, deadline) as rewarder:
        began = time.perf_counter()
        futures = [_submit(rewarder, case) for case in others]
        for future in futures:
            future.add_done_callback(lambda _: ends.append(time.perf_counter()))
        bursts = 0
        while bursts < least_bursts or len(ends) < len(others):
            cases = [_case(pair) for pair in islice(exact, BURST)]
            start = time.perf_counter()
            for case in cases:
                before = time.perf_counter()
                _submit(rewarder, case).result()
                latencies.append(time.perf_counter() - before)
            bursts += 1
            time.sleep(max(0.0, start + BURST_SECONDS - time.perf_counter()))
        verdicts = Counter(str(f.result().verdict) for f in futures)
    return Stream(latencies, verdicts, max(ends) - began)


def _bombs(names: Sequence[str], count: int) -> list[Case]:
    """So many different bombs: each is one of the named plus a number of its own."""
    cases = []
    for number in range(count):
        reference, answer = CANDIDATES[names[number % len(names)]]
        cases.append(({"answer": reference}, response_with(f"{answer}+{number + 2}")))
    return cases


@contextlib.contextmanager
def _rewarder(workers: int, deadline: float) -> Iterator[Rewarder]:
    """A rewarder whose workers have done something already."""
    rewarder = make_rewarder(
        "math", Verifier(service="local", workers=workers, math_seconds=deadline)
    )
    first = generated_pairs(4 * workers, seed=1, lane="symbolic")
    for future in [_submit(rewarder, _case(pair)) for pair in first]:
        future.result()
    try:
        yield rewarder
    finally:
        rewarder.close()


def _submit(rewarder: Rewarder, case: Case) -> "Future[Grade]":
    return rewarder.submit(*case)


def _case(pair: Pair) -> Case:
    return {"answer": pair.reference}, pair.response
