"""Do the papers' effects show themselves in small, and in the same direction?

    make effects                   (about 40 minutes on 2 cores)
    python -m benchmarks.effects --only overlong

Each effect is a few arms of RL from the quickstart's SFT checkpoint (effects_list.py), each with
the same seeds, two at a time in one thread each. Writes benchmarks/results/effects.json and a plot
for each effect into docs/effects/, after each effect, and prints what docs/effects.md shows. Arms
that an earlier, interrupted start of the same code has finished are not done again.
"""

import argparse
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.effects_arms import Outcome, outcome
from benchmarks.effects_list import Effect, arms_of, common_settings, effects, sft_checkpoint
from benchmarks.effects_page import told, write_plots
from benchmarks.intervals import paired_difference
from benchmarks.kept_result import kept, write
from benchmarks.machine import machine
from benchmarks.progress import Steps

RESULT = Path("benchmarks/results/effects.json")
PLOTS = Path("docs/effects")
SEEDS = 8


def main() -> int:
    """Train, measure, write. An effect that is not there is a result, no failure; 1 where an arm
    fails, whose effect is left out."""
    args = _arguments()
    names = args.only or list(effects())
    chosen = [effects()[name] for name in names]
    start = sft_checkpoint()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the workers: one arm on each core
    workers = len(os.sched_getaffinity(0))
    spawn = multiprocessing.get_context("spawn")
    here = machine()
    # Effects that are measured anew are dropped first: what a cut run leaves is of one kind.
    earlier = kept(args.out, here).get("effects", {}) if args.only else {}
    found = {name: effect for name, effect in earlier.items() if name not in names}
    with ProcessPoolExecutor(max_workers=workers, mp_context=spawn) as pool:
        asked = {e.name: _asked(pool, e, start, args.seeds) for e in chosen}
        _watched([f for arms in asked.values() for seeds in arms.values() for f in seeds])
        result: dict[str, Any] = {"machine": here, "effects": {}}
        failed: list[str] = []
        for effect in chosen:
            outcomes, errors = outcomes_of(asked[effect.name])
            failed += [f"{effect.name}, {error}" for error in errors]
            if not errors:
                found[effect.name] = _of(effect, outcomes)
            result["effects"] = {n: found[n] for n in effects() if n in found}
            if errors:
                continue
            write(args.out, result)
            if args.out:
                write_plots(result, PLOTS if args.out == RESULT else args.out.with_suffix(""))
            print(f"{effect.name} is done", flush=True)
    print("\n\n".join(told(result)))
    print("".join(f"\nfailed: {what}" for what in failed))
    return 1 if failed else 0


def outcomes_of(
    asked: Mapping[str, Sequence[Future[Outcome]]],
) -> tuple[dict[str, list[Outcome]], list[str]]:
    """What came of an effect's arms, by seed, and a sentence for each that failed."""
    found: dict[str, list[Outcome]] = {arm: [] for arm in asked}
    errors = []
    for arm, seeds in asked.items():
        for seed, future in enumerate(seeds):
            error = future.exception()
            if error is None:
                found[arm].append(future.result())
            else:
                errors.append(f"{arm}, seed {seed}: {error or type(error).__name__}")
    return found, errors


def _watched(arms: Sequence[Future[Outcome]]) -> None:
    """Say how far they are."""
    steps = Steps("arms", len(arms))
    for arm in arms:
        arm.add_done_callback(lambda _: steps.done())


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
        "note": effect.note,
        "curve": effect.curve,
        "settings": {"common": common_settings(), "arms": effect.arms},
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
    ends = ("accuracy", "entropy", "reward")
    return {
        **{metric: [round(o.end(metric), 4) for o in outcomes] for metric in ends},
        "entropyAtStart": [round(o.curves["entropy"][0], 4) for o in outcomes],
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
        help=f"where the result goes; effects that are not measured stay what they are there, if "
        f"this code has measured them on this machine (default: {RESULT} with {SEEDS} seeds, else "
        "nowhere)",
    )
    args = parser.parse_args()
    if args.out is None and args.seeds == SEEDS:
        args.out = RESULT
    return args


if __name__ == "__main__":
    sys.exit(main())
