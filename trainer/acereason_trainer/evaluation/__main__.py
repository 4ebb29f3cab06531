"""`python -m acereason_trainer.evaluation compare A B`: is B better than A?"""

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from acereason_trainer.artifacts.errors import NotFound
from acereason_trainer.artifacts.lineage import Ambiguous, find
from acereason_trainer.artifacts.store import ARTIFACTS, DirectoryStore
from acereason_trainer.evaluation.bootstrap import (
    Interval,
    paired_interval,
    per_problem_differences,
)
from acereason_trainer.evaluation.results import EvaluationResult, read_results


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (0, or 2 for a wrong input)."""
    options = _parser().parse_args(arguments)
    try:
        a, b = (read_results(_place(name, options.store)) for name in (options.a, options.b))
        intervals = compare(a, b, options.set, options.confidence, options.resamples)
    except ValueError as e:
        print(f"compare: {e}", file=sys.stderr)
        return 2
    if options.output == "json":
        print(json.dumps({name: asdict(i) for name, i in intervals.items()}, indent=1))
    else:
        print("\n".join(_line(name, a, b, i) for name, i in intervals.items()))
    return 0


def compare(
    a: EvaluationResult,
    b: EvaluationResult,
    names: list[str],
    confidence: float,
    resamples: int,
) -> dict[str, Interval]:
    """Intervals of B - A by set: the named ones, else all that both have."""
    of_a, of_b = ({s.name: s for s in r.sets} for r in (a, b))
    common = [name for name in of_a if name in of_b]
    missing = [name for name in names if name not in common]
    if missing or not common:
        raise ValueError(
            f"no set {', '.join(missing) or 'at all'} is in both results; both have: "
            f"{', '.join(common) or 'none'}"
        )
    return {
        name: paired_interval(
            per_problem_differences(of_a[name], of_b[name]),
            confidence=confidence,
            resamples=resamples,
        )
        for name in names or common
    }


def _place(name: str, store: str | None) -> Path:
    """Where the results that a person means are. Raises ValueError with a sentence."""
    if Path(name).exists():
        return Path(name)
    if store is None:
        raise ValueError(f"{name} does not exist, and no store is named in which it could be")
    try:
        return Path(store, ARTIFACTS, find(DirectoryStore(Path(store)), name).key)
    except (NotFound, Ambiguous) as error:
        raise ValueError(f"{name} is no file, and in the store {store}: {error}") from error


def _line(name: str, a: EvaluationResult, b: EvaluationResult, i: Interval) -> str:
    before, after = a.set_named(name).accuracy, b.set_named(name).accuracy
    return (
        f"{name}: {before:.1%} -> {after:.1%}, {i.difference * 100:+.1f} points "
        f"[{i.low * 100:+.1f}, {i.high * 100:+.1f}] ({i.confidence:.0%} paired bootstrap, "
        f"n = {i.problems})"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="acereason")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    compare_parser = verbs.add_parser(
        "compare",
        help="difference of two evaluations, with a paired bootstrap interval",
        description="Accuracy of B minus accuracy of A on each set that both measured, with a "
        "paired bootstrap interval over problems.",
        epilog="example: acereason compare quickstart/sft-eval quickstart/math-3-eval",
    )
    compare_parser.add_argument(
        "a", metavar="A", help="before: RUN/STAGE or key of an evaluation in the store, or its "
        "directory or results.json"
    )  # fmt: skip
    compare_parser.add_argument("b", metavar="B", help="after, named likewise")
    compare_parser.add_argument(
        "--store",
        metavar="DIR",
        default=os.environ.get("ACEREASON_STORE"),
        help="the store (default: $ACEREASON_STORE, ./store, else that of the last run)",
    )
    compare_parser.add_argument(
        "--set", action="append", default=[], metavar="NAME", help="only this set (repeatable)"
    )
    compare_parser.add_argument(
        "--confidence", type=_confidence, default=0.95, help="share of resamples inside"
    )
    compare_parser.add_argument(
        "--resamples", type=_positive, default=10_000, help="number of bootstrap resamples"
    )
    compare_parser.add_argument(
        "-o", "--output", choices=["text", "json"], default="text", help="form of the output"
    )
    return parser


def _confidence(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} must lie between 0 and 1, for example 0.95")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} must be 1 or more")
    return value


if __name__ == "__main__":
    sys.exit(main())
