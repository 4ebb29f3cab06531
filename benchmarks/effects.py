"""Do the papers' effects show themselves in small, and in the same direction?

    make effects                   (sized for 15 minutes on 2 quiet cores)

Each effect is a few arms of RL from the quickstart's SFT checkpoint (effects_list.py), each with
the same seeds, two at a time in one thread each. Writes benchmarks/results/effects.json and a plot
for each effect into docs/effects/, and prints what docs/effects.md shows. Arms that an earlier,
interrupted start has finished are not done again.
"""

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.effects_arms import Outcome, outcome
from benchmarks.effects_list import Effect, arms_of, effects, sft_checkpoint
from benchmarks.effects_page import told, write_plots
from benchmarks.intervals import paired_difference
from benchmarks.machine import machine

RESULT = Path("benchmarks/results/effects.json")
PLOTS = Path("docs/effects")
SEEDS = 4


def main() -> int:
    """Train, measure, write. An effect that is not there is a result, no failure."""
    args = _arguments()
    chosen = [effects()[name] for name in args.only or effects()]
    start = sft_checkpoint()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the workers: one arm on each core
    workers = len(os.sched_getaffinity(0))
    spawn = multiprocessing.get_context("spawn")
    result: dict[str, Any] = {"machine": machine(), "seeds": args.seeds, "effects": {}}
    with ProcessPoolExecutor(max_workers=workers, mp_context=spawn) as pool:
        asked = {e.name: _asked(pool, e, start, args.seeds) for e in chosen}
        for effect in chosen:
            print(f"{effect.name} ...", flush=True)
            found = {a: [f.result() for f in futures] for a, futures in asked[effect.name].items()}
            result["effects"][effect.name] = _of(effect, found)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + "\n")
        write_plots(result, PLOTS if args.out == RESULT else args.out.with_suffix(""))
    print("\n\n".join(told(result)))
    return 0


def _asked(
    pool: ProcessPoolExecutor, effect: Effect, start: Path, seeds: int
) -> dict[str, list[Future[Outcome]]]:
    return {
        name: [pool.submit(outcome, arm, seed) for seed in range(seeds)]
        for name, arm in arms_of(effect, start).items()
    }


def _of(effect: Effect, found: Mapping[str, Sequence[Outcome]]) -> dict[str, Any]:
    return {
        "name": effect.name,
        "title": effect.title,
        "claim": effect.claim,
        "curve": effect.curve,
        "arms": {name: _arm(effect, outcomes) for name, outcomes in found.items()},
        "comparisons": [
            {
                **asdict(c),
                **asdict(
                    paired_difference(
                        [o.end(c.metric) for o in found[c.a]],
                        [o.end(c.metric) for o in found[c.b]],
                    )
                ),
            }
            for c in effect.comparisons
        ],
    }


def _arm(effect: Effect, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """One arm by seed."""
    ends = ("accuracy", "tokens", "entropy", "reward")
    return {
        **{metric: [round(o.end(metric), 4) for o in outcomes] for metric in ends},
        "temperature": [o.temperature for o in outcomes],
        "curves": [[round(v, 5) for v in o.curves[effect.curve]] for o in outcomes],
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.effects",
        description=(__doc__ or "").split("\n", maxsplit=1)[0],
        epilog="example: python -m benchmarks.effects --only updates --seeds 2",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=effects(),
        metavar="EFFECT",
        help=f"some of {', '.join(effects())} (default: all)",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        default=SEEDS,
        choices=range(2, 11),
        metavar="N",
        help="seeds of each arm, 2 to 10 (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help=f"where the result goes (default: {RESULT} for all effects, else nowhere)",
    )
    args = parser.parse_args()
    if args.out is None and not args.only:
        args.out = RESULT
    return args


if __name__ == "__main__":
    sys.exit(main())
