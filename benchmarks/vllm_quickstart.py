"""Does the quickstart's math stage come to the same accuracy when vLLM draws its responses?

    make bench-vllm          (about 25 minutes on 2 quiet cores)

Both arms start from the same SFT checkpoint, with the same data and settings, once for each seed;
only `sampler` differs. Both are measured on the same held-out problems, so the difference is taken
problem by problem. Seeds and problems are resampled for its interval, and Student's t is taken over
the seeds' means: the first takes the noise of few seeds for too small, the second knows nothing of
problems that are few. The wider of the two counts. Nothing is timed: here the arms run one after
the other, which says more of the machine than of them (trainer.py lets them take turns).

Writes benchmarks/results/vllm-quickstart.json after each seed and prints its table; 1 where 0 is
outside of the interval, the interval is wider than 12 points, or trainer and engine differ after a
push. A run that was cut goes on with --only and the seeds that are not there.
"""

import argparse
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from acereason_trainer.evaluation.bootstrap import per_problem_differences
from acereason_trainer.evaluation.results import SetResult
from acereason_trainer.telemetry.recorder import read_metrics

from benchmarks.intervals import paired_difference, resampled_interval
from benchmarks.kept_result import kept, write
from benchmarks.machine import machine
from benchmarks.progress import Parts
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
SEEDS = 5
WIDEST = 12.0
"""Points of accuracy, between the interval's ends."""
MOST_APART = 1e-4
"""Nats, on average over the tokens of a push's probe."""
BOOTSTRAP, STUDENT = "a bootstrap of seeds and problems", "Student's t over seeds"
MINUTES = {"transformers": 3.0, "vllm": 2.0}
"""The first arm makes the SFT checkpoint of both."""


def main() -> int:
    """Run both arms for each seed and write what they came to."""
    args = _arguments()
    here = machine()
    wanted = args.only or list(range(SEEDS))
    earlier = kept(args.out, here).get("seeds", []) if args.only else []
    seeds = {s["seed"]: s for s in earlier if s["seed"] not in wanted}
    parts = Parts({f"seed {s}, {arm}": m for s in wanted for arm, m in MINUTES.items()})
    for seed in wanted:
        seeds[seed] = _of_seed(seed, args.store, parts)
        of_all = [seeds[number] for number in sorted(seeds)]
        result: dict[str, Any] = {
            "machine": here,
            "seeds": of_all,
            "figures": figures_of(of_all),
        }
        write(args.out, result)
    print("\n\n".join(told(result)))
    return 0 if is_met(result["figures"]) and agree(result["seeds"]) else 1


def _of_seed(seed: int, store: Path, parts: Parts) -> dict[str, Any]:
    here = store / f"seed-{seed}"
    # What is found there would be an earlier commit's work, in no time.
    shutil.rmtree(here, ignore_errors=True)
    arms = {}
    for sampler in ARMS:
        name = f"seed {seed}, {sampler}"
        parts.begin(name)
        arms[sampler] = _arm(sampler, seed, here)
        parts.end(name)
    require_two({sampler: arm.pop("uri") for sampler, arm in arms.items()})
    ours, theirs = (arms[sampler].pop("set") for sampler in ARMS)
    differences = [round(d, 4) for d in per_problem_differences(ours, theirs)]
    return {"seed": seed, **arms, "differences": differences}


def _arm(sampler: str, seed: int, here: Path) -> dict[str, Any]:
    """The quickstart to its first math stage and that stage's evaluation."""
    acereason_run(
        FILE,
        here,
        *("--until", f"{STAGE}-eval", "--set", f"spec.seed={seed}"),
        *("--set", f"spec.model.fromConfig.seed={seed}", *ARMS[sampler]),
        log=here / f"{sampler}.log",
    )
    done = stages(here, "quickstart")
    measured: SetResult = results(here, done[f"{STAGE}-eval"]).set_named("math")
    trained = artifact(here, done[STAGE])
    rows = read_metrics(trained / "metrics.jsonl")
    return {
        "uri": str(trained),
        "set": measured,
        "accuracy": round(100 * measured.accuracy, 2),
        "standardError": round(100 * (measured.standard_error or 0.0), 2),
        "mismatchKl": mean_mismatch(rows),
        **probe_differences(rows),
    }


def require_two(uris: Mapping[str, str]) -> None:
    """Raise RuntimeError where the arms have one artifact: then one sampler has drawn for both."""
    if len(set(uris.values())) < len(uris):
        raise RuntimeError(
            f"the stages of {' and '.join(uris)} are one artifact, {next(iter(uris.values()))}: "
            "does a stage's key still tell its sampler?"
        )


def mean_mismatch(rows: Sequence[Mapping[str, float | None]]) -> float:
    """Over the steps, in three digits: how small it is, is what it says. Raises RuntimeError where
    a step's is no number."""
    found = [value for row in rows if (value := row["mismatch_kl"]) is not None]
    if len(found) < len(rows):
        raise RuntimeError("mismatch_kl of a step is no number")
    return float(f"{fmean(found):.3g}")


def probe_differences(rows: Sequence[Mapping[str, float | None]]) -> dict[str, float]:
    """How many pushes to an engine there were, and how far apart it and the trainer were after one
    at most; nothing of an arm without an engine."""
    found = [value for row in rows if (value := row.get("probe_difference")) is not None]
    return {"pushes": len(found), "probeDifference": float(f"{max(found):.3g}")} if found else {}


def figures_of(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """vLLM's accuracy less the transformers sampler's, in points, with its 95 % interval."""
    differences = [s["differences"] for s in seeds]
    intervals = {BOOTSTRAP: resampled_interval(differences)}
    if len(seeds) > 1:
        of_seeds = paired_difference([0.0] * len(seeds), [fmean(d) for d in differences])
        intervals[STUDENT] = of_seeds.low, of_seeds.high
    method = max(intervals, key=lambda name: intervals[name][1] - intervals[name][0])
    low, high = intervals[method]
    return {
        "problems": len(differences[0]),
        "difference": round(100 * fmean(map(fmean, differences)), 2),
        "low": round(100 * low, 2),
        "high": round(100 * high, 2),
        "interval": method,
    }


def is_met(figures: Mapping[str, Any]) -> bool:
    """Whether the interval holds 0 and says something."""
    low, high = float(figures["low"]), float(figures["high"])
    return low <= 0 <= high and high - low <= WIDEST


def agree(seeds: Sequence[Mapping[str, Any]]) -> bool:
    """Whether trainer and engine had the same logprobs after every push of every seed."""
    return all(s["vllm"].get("probeDifference", math.inf) <= MOST_APART for s in seeds)


def told(result: Mapping[str, Any]) -> list[str]:
    """The block of docs/performance.md."""
    head = ["sampler", "accuracy by seed, %", "mismatch KL by seed"]
    rows = [head, ["---"] * len(head)]
    for sampler in ARMS:
        arms = [s[sampler] for s in result["seeds"]]
        rows.append(
            [
                sampler,
                ", ".join(f"{a['accuracy']:.1f} ± {a['standardError']:.1f}" for a in arms),
                ", ".join(map(_mismatch, arms)),
            ]
        )
    figures = result["figures"]
    asked = f"it is to hold 0 and be at most {WIDEST:g} wide"
    verdict = "as asked for" if is_met(figures) else f"missed: {asked}"
    lost = max(0.0, -figures["low"])
    return [
        "\n".join("| " + " | ".join(row) + " |" for row in rows),
        f"vLLM's accuracy less the transformers sampler's: {figures['difference']:+.1f} points "
        f"({figures['low']:+.1f} to {figures['high']:+.1f}, 95 % over {len(result['seeds'])} seeds "
        f"and {figures['problems']} problems by {figures['interval']}, the wider of two intervals; "
        f"{verdict}). By the interval's low end vLLM loses "
        f"{lost:.1f} points at most.",
        *_apart(result["seeds"]),
    ]


def _apart(seeds: Sequence[Mapping[str, Any]]) -> list[str]:
    arms = [s["vllm"] for s in seeds]
    if not all("pushes" in arm for arm in arms):
        return []
    most = max(arm["probeDifference"] for arm in arms)
    verdict = "as asked for" if agree(seeds) else f"missed: it is to be {MOST_APART:g} at most"
    return [
        f"After each of {sum(arm['pushes'] for arm in arms)} pushes vLLM's logprobs of a fixed "
        f"probe are {most:.1e} nats from the trainer's at most, on average over its tokens "
        f"({verdict})."
    ]


def _mismatch(arm: Mapping[str, Any]) -> str:
    """Earlier results have six digits behind the point: what was less is 0 there."""
    if "mismatchKl" in arm:
        return f"{arm['mismatchKl']:.1e}"
    return f"below {arm['mismatch_kl'] + 5e-7:.0e}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.vllm_quickstart",
        description=(__doc__ or "").split("\n", maxsplit=1)[0],
        epilog="example: python -m benchmarks.vllm_quickstart --only 2",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        type=int,
        metavar="SEED",
        help=f"some seeds (default: 0 to {SEEDS - 1}); others stay as they are in the result, if "
        "this commit has measured them on this machine",
    )
    parser.add_argument(
        "--store",
        type=Path,
        default=Path("build/bench/vllm"),
        help="directory for the runs; a seed's is emptied first (default: %(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, default=RESULT, help="where the result goes (default: %(default)s)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
