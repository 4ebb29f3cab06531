"""Does the quickstart's math stage come to the same accuracy when vLLM draws its responses?

    make bench-vllm          (about 10 minutes on 2 cores with nothing beside it)

Both arms start from the same SFT checkpoint, with the same seeds, data and settings; only `sampler`
differs. Both are measured on the same held-out problems, so the difference is taken problem by
problem (its mean over the seeds), and problems are resampled.

Writes benchmarks/results/vllm-quickstart.json and prints it; 1 where 0 is outside of the interval
or the interval is wider than 12 points.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from acereason_trainer.evaluation.bootstrap import paired_interval, per_problem_differences
from acereason_trainer.evaluation.results import SetResult
from acereason_trainer.telemetry.recorder import read_metrics

from benchmarks.machine import machine
from benchmarks.runs import acereason_run, artifact, results, stages

FILE = Path("examples/quickstart.yaml")
RESULT = Path("benchmarks/results/vllm-quickstart.json")
STAGE = "math-1"
ARMS = {
    "transformers": (),
    "vllm": (
        *("--set", f"stages.{STAGE}.mathRL.sampler=vllm"),
        *("--set", f"stages.{STAGE}.mathRL.vllm.cacheGib=0.5"),
    ),
}
WIDEST = 12.0
"""Points of accuracy, between the interval's ends."""
CURVES = ("mismatch_kl", "generate_seconds", "push_seconds", "tail_seconds", "step_seconds")


def main() -> int:
    """Run both arms for each seed and write what they came to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1, help="how many (default 1)")
    parser.add_argument("--store", type=Path, default=Path("build/bench/vllm"))
    args = parser.parse_args()
    shutil.rmtree(args.store, ignore_errors=True)
    seeds, differences = [], []
    for seed in range(args.seeds):
        arms = {sampler: arm(sampler, seed, args.store) for sampler in ARMS}
        ours, theirs = (arms[sampler].pop("set") for sampler in ARMS)
        differences.append(per_problem_differences(ours, theirs))
        seeds.append({"seed": seed, **arms})
        print(f"seed {seed}: {json.dumps(arms)}")
    found = paired_interval(
        [fmean(of_a_problem) for of_a_problem in zip(*differences, strict=True)]
    )
    figures = {
        "problems": found.problems,
        "difference": round(100 * found.difference, 2),
        "low": round(100 * found.low, 2),
        "high": round(100 * found.high, 2),
    }
    RESULT.write_text(
        json.dumps({"machine": machine(), "seeds": seeds, "figures": figures}, indent=1) + "\n"
    )
    print(json.dumps(figures))
    width = figures["high"] - figures["low"]
    return 0 if figures["low"] <= 0 <= figures["high"] and width <= WIDEST else 1


def arm(sampler: str, seed: int, store: Path) -> dict[str, Any]:
    """The quickstart to its first math stage and that stage's evaluation."""
    here = store / f"seed-{seed}"
    seconds = acereason_run(
        FILE,
        here,
        *("--until", f"{STAGE}-eval", "--set", f"spec.seed={seed}"),
        *("--set", f"spec.model.fromConfig.seed={seed}", *ARMS[sampler]),
        log=here / f"{sampler}.log",
    )
    done = stages(here, "quickstart")
    measured: SetResult = results(here, done[f"{STAGE}-eval"]).set_named("math")
    rows = read_metrics(artifact(here, done[STAGE]) / "metrics.jsonl")
    return {
        "set": measured,
        "accuracy": round(100 * measured.accuracy, 2),
        "standardError": round(100 * (measured.standard_error or 0.0), 2),
        "seconds": round(seconds, 1),
        **{name: round(fmean(float(row[name] or 0.0) for row in rows), 6) for name in CURVES},
    }


if __name__ == "__main__":
    sys.exit(main())
