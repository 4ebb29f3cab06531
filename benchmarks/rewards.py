"""Are rewards right, fast, and undisturbed? Against math-verify, prime_code and plain subprocesses.

    make bench-rewards             (about 15 minutes on 2 cores)

Contestants take turns on the same cases in the same run, each on one core in a process of its own
(rewards_contest.py); a training step's batch is graded on all cores; then a batch with bombs in it
is (rewards_bombs.py). Every goal is checked, and so is every disagreement with math-verify:
peers/math_verify_disagreements.json gives a reason for each that is known.

Writes benchmarks/results/rewards.json and prints its tables.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from benchmarks.rewards_batch import batch_section
from benchmarks.rewards_bombs import behaviour_under_bombs
from benchmarks.rewards_code import code_section
from benchmarks.rewards_goals import GOALS
from benchmarks.rewards_math import math_section
from benchmarks.rewards_tables import tables

RESULT = Path("benchmarks/results/rewards.json")
Result = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    rounds: int = 5
    generated: int = 300
    share: float = 1.0
    """Of the programs of rewards_code.SETS."""
    prompts: int = 1024
    group: int = 16
    sample: int = 256
    """Rollouts of a batch that the peers grade."""
    bombed: int = 1024
    """Answers of the batch with bombs."""


SMALL = Sizes(rounds=2, share=0.2, prompts=16, group=4, sample=16, bombed=100)


SECTIONS: Mapping[str, Callable[[Sizes], Result]] = {
    "math": lambda s: math_section(s.rounds, s.generated),
    "code": lambda s: code_section(s.rounds, s.share),
    "batch": lambda s: batch_section(s.prompts, s.group, s.sample),
    "bombs": lambda s: behaviour_under_bombs(s.bombed),
}


def main() -> int:
    """Measure, write the result; 1 with a sentence for each goal that is missed."""
    args = _arguments()
    sizes = SMALL if args.small else Sizes()
    result: Result = {"machine": machine(), "rounds": sizes.rounds}
    for name in args.only or SECTIONS:
        print(f"{name} ...", flush=True)
        result[name] = SECTIONS[name](sizes)
    result["goals"] = [g.judged(result) for g in GOALS if g.section in result]
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + "\n")
    print("\n\n".join(tables(result)))
    return _ended(result)


def _ended(result: Result) -> int:
    agreed = result.get("math", {}).get("agreement", {})
    for found in agreed.get("unlisted", []):
        print("unlisted disagreement:", json.dumps(found, ensure_ascii=False))
    for gone in agreed.get("listedButAgreed", []):
        print("listed, but agreed upon now:", json.dumps(gone, ensure_ascii=False))
    missed = [g for g in result["goals"] if not g["met"]]
    for g in missed:
        print(f"missed: {g['goal']}: {g['measured']:g}, must be {g['asked']}")
    if not missed:
        print("every goal is met")
    return 1 if missed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rewards",
        description=(__doc__ or "").split("\n", maxsplit=1)[0],
        epilog="example: python -m benchmarks.rewards --small --only math --out build/math.json",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=SECTIONS,
        metavar="SECTION",
        help=f"some of {', '.join(SECTIONS)} (default: all)",
    )
    parser.add_argument(
        "--small", action="store_true", help="little of everything, in a minute: does it work?"
    )
    parser.add_argument(
        "--out",
        type=Path,
        help=f"where the result goes (default: {RESULT} for all of it in full size, else nowhere)",
    )
    args = parser.parse_args()
    if args.out is None and not args.small and not args.only:
        args.out = RESULT
    return args


if __name__ == "__main__":
    sys.exit(main())
