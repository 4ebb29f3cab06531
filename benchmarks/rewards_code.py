"""Programs a second and what a program and a test cost: ours beside prime_code and subprocesses."""

from collections.abc import Mapping
from typing import Any

from benchmarks.rewards_contest import Case, Rounds, code_contestants, contest, spread
from benchmarks.rewards_programs import task_cases, trivial_cases

SETS = {
    "trivial, 1 test": (60, 1),
    "trivial, 50 tests": (10, 50),
    "1 test": (60, 1),
    "10 tests": (30, 10),
    "50 tests": (8, 50),
    "10 tests, wrong": (15, 10),
}
"""Programs and tests of each."""
Result = dict[str, Any]


def code_section(rounds: int, share: float) -> Result:
    """Programs a second with 1, 10 and 50 tests; `share` of the programs of SETS."""
    sets = {
        name: _code_cases(name, max(2, int(share * count)), tests)
        for name, (count, tests) in SETS.items()
    }
    done = contest(code_contestants(), "code", sets, trivial_cases(3, 1, seed=1), rounds)
    first, fifty = (
        spread([1000 * s / len(sets[name]) for s in done["ours"][name].seconds])
        for name in ("trivial, 1 test", "trivial, 50 tests")
    )
    return {
        "versions": done["prime_code"]["1 test"].versions,
        "sets": {name: _code_figures(done, name, len(cases)) for name, cases in sets.items()},
        "firstMs": first["median"],
        "furtherMs": round((fifty["median"] - first["median"]) / 49, 4),
        "mistakes": {
            c: sum(
                (verdict == "correct") == name.endswith("wrong")
                for name in sets
                for verdict in by_set[name].verdicts[0]
            )
            for c, by_set in done.items()
        },
    }


def _code_cases(name: str, count: int, tests: int) -> list[Case]:
    if name.startswith("trivial"):
        return trivial_cases(count, tests)
    return task_cases(count, tests, right=not name.endswith("wrong"))


def _code_figures(done: Mapping[str, Mapping[str, Rounds]], name: str, count: int) -> Result:
    return {
        "programs": count,
        "programsPerSecond": {
            c: spread([count / s for s in by_set[name].seconds], 2) for c, by_set in done.items()
        },
    }
