"""Does math RL improve a real pretrained model over its own SFT checkpoint, on two cores?

    make bench-smollm2             (about 40 minutes on 2 cores)

Runs examples/smollm2-135m.yaml in an empty store, so that its seconds are those of a whole run,
and compares the checkpoints after SFT and after the first math RL problem by problem: a paired
bootstrap over the held-out problems.

Writes benchmarks/results/smollm2.json and prints its table.
"""

import argparse
import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from acereason_trainer.evaluation.bootstrap import paired_interval, per_problem_differences

from benchmarks.machine import machine
from benchmarks.runs import accuracies, acereason_run, results, stages

FILE = Path("examples/smollm2-135m.yaml")
RUN = "smollm2-135m"
RESULT = Path("benchmarks/results/smollm2.json")
EVALUATIONS = {"SFT": "sft-eval", "math 1": "math-1-eval", "math 3": "math-3-eval"}
MOST_SECONDS = 45 * 60
LEAST_PROBLEMS = 300


def main() -> int:
    """Run, write the result; 1 where a goal is missed."""
    store = _arguments().store
    shutil.rmtree(store, ignore_errors=True)
    seconds = acereason_run(FILE, store, log=store.with_name(f"{store.name}.log"))
    done = stages(store, RUN)
    result = {
        "machine": machine(),
        "seconds": round(seconds, 1),
        "accuracy": {after: accuracies(store, done[name]) for after, name in EVALUATIONS.items()},
        "mathGain": math_gain(store, done),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))
    missed = missed_goals(result)
    print(f"missed: {'; '.join(missed)}" if missed else "every goal is met")
    return 1 if missed else 0


def math_gain(store: Path, done: dict[str, Any]) -> dict[str, Any]:
    """Points from SFT to the first math RL on the same problems, with a 95 % interval."""
    before, after = (
        results(store, done[EVALUATIONS[name]]).set_named("math") for name in ("SFT", "math 1")
    )
    return asdict(paired_interval([100 * d for d in per_problem_differences(before, after)]))


def missed_goals(result: dict[str, Any]) -> list[str]:
    """What the result does not show."""
    gain = result["mathGain"]
    missed = []
    if gain["low"] <= 0:
        missed.append(f"the interval of the gain reaches down to {gain['low']:.1f}")
    if gain["problems"] < LEAST_PROBLEMS:
        missed.append(f"{gain['problems']} problems are fewer than {LEAST_PROBLEMS}")
    if result["seconds"] > MOST_SECONDS:
        missed.append(f"{result['seconds'] / 60:.0f} minutes are more than {MOST_SECONDS // 60}")
    return missed


def table(result: dict[str, Any]) -> str:
    """The result as Markdown: accuracy after each stage, and the gain with its interval."""
    head = ["set", *EVALUATIONS]
    rows = [
        [kind, *(_cell(result["accuracy"][after][kind]) for after in EVALUATIONS)]
        for kind in ("math", "code")
    ]
    lines = ["| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows)]
    gain = result["mathGain"]
    return "\n".join(lines) + (
        f"\n\nThe first math RL gains {gain['difference']:+.1f} points over its own SFT checkpoint "
        f"(paired bootstrap over {gain['problems']} problems, 95 % interval {gain['low']:+.1f} to "
        f"{gain['high']:+.1f}); the whole run took {result['seconds'] / 60:.0f} minutes. The "
        "stages after it are a few steps each: they are there to show the path."
    )


def _cell(a: dict[str, Any]) -> str:
    return f"{a['accuracy']:.1f} ± {a['standardError']:.1f}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.smollm2",
        description=(__doc__ or "").split("\n", maxsplit=1)[0],
        epilog="example: python -m benchmarks.smollm2 --store /tmp/smollm2",
    )
    parser.add_argument(
        "--store",
        type=Path,
        default=Path("build/bench/smollm2"),
        help="directory for the run; emptied first (default: %(default)s)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
