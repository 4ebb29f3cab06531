"""Contestants take turns on the same cases, each in a process of its own, all on one core.

A round starts every contestant anew, one after the other, in an order that moves on by one from
round to round: what warms up or slows down the machine falls on all of them. Start-up and a few
cases to warm up are not counted.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.peers.environments import HERE, bare_python, environment

Case = dict[str, Any]


@dataclass(frozen=True)
class Contestant:
    """Something that grades, and how it is started."""

    name: str
    command: tuple[str, ...]


@dataclass
class Rounds:
    """What one contestant did with one set of cases."""

    seconds: list[float] = field(default_factory=list)
    """All cases, by round."""
    latencies: list[float] = field(default_factory=list)
    """Each case of each round."""
    verdicts: list[list[str]] = field(default_factory=list)
    """By round, in the order of the cases."""
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def changing(self) -> list[int]:
        """Cases whose verdict was not the same in every round."""
        return [n for n, said in enumerate(zip(*self.verdicts, strict=True)) if len(set(said)) > 1]


OURS = Contestant("ours", (sys.executable, "-m", "benchmarks.rewards_ours"))


def math_contestants() -> list[Contestant]:
    """Ours and math-verify."""
    return [OURS, _peer("math-verify", environment("math_verify"), "grade_math_verify.py")]


def code_contestants() -> list[Contestant]:
    """Ours, prime_code and a subprocess for each test."""
    return [
        OURS,
        _peer("prime_code", environment("prime_code"), "grade_prime_code.py"),
        _peer("subprocess", bare_python(), "grade_subprocess.py"),
    ]


def _peer(name: str, python: Path, script: str) -> Contestant:
    return Contestant(name, (str(python), str(HERE / script)))


def contest(
    contestants: Sequence[Contestant],
    domain: str,
    sets: Mapping[str, list[Case]],
    warm_up: list[Case],
    rounds: int,
) -> dict[str, dict[str, Rounds]]:
    """Each contestant's rounds with each set, by contestant and set.

    Raises CalledProcessError where a contestant ends with an error.
    """
    done = {c.name: {name: Rounds() for name in sets} for c in contestants}
    for number in range(rounds):
        turn = number % len(contestants)
        for contestant in [*contestants[turn:], *contestants[:turn]]:
            for name, cases in sets.items():
                request = {"domain": domain, "workers": 1, "warmUp": warm_up, "cases": cases}
                answer = one_round(contestant, request)
                kept = done[contestant.name][name]
                kept.seconds.append(answer["seconds"])
                kept.latencies += answer["latencies"]
                kept.verdicts.append(answer["verdicts"])
                kept.versions |= answer["versions"]
    return done


def one_round(contestant: Contestant, request: Case) -> dict[str, Any]:
    """Start a contestant on the first core that we may use, and let it grade the request."""
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "request.json", Path(folder) / "answer.json"
        files[0].write_text(json.dumps(request))
        subprocess.run(
            [*contestant.command, *map(str, files)],
            check=True,
            stdin=subprocess.DEVNULL,
            preexec_fn=partial(os.sched_setaffinity, 0, {min(os.sched_getaffinity(0))}),
        )
        answer: dict[str, Any] = json.loads(files[1].read_text())
        return answer


def spread(values: Sequence[float], digits: int = 4) -> dict[str, float]:
    """Median, least and largest."""
    return {
        "median": round(median(values), digits),
        "least": round(min(values), digits),
        "largest": round(max(values), digits),
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The value that a share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
