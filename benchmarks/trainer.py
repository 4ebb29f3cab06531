"""How long is a step? Against TRL 1.16 in the fastest mode of it that works here, in turns.

    make bench-trainer             (sized for 40 minutes on 2 quiet cores)

    grpo         a GRPO step of a 0.6M model and of SmolLM2-135M, and the reward it leads to
    sft          document tokens a second against TRL's padded, wrapped and bfd
    loss         peak memory of the loss at a vocabulary of 150K
    checkpoint   publishing and verifying against cp and sha256sum
    resume       from a kill to the next step
    gpu          where there is one: tokens/s and MFU of Qwen2.5-shaped random weights

TRL has an environment of its own (peers/trl.txt) and its settings stand in peers/train_trl.py. Both
trainers are processes that take turns at every step, so that a busy machine slows both: ratios are
what counts. Writes benchmarks/results/trainer.json and prints its tables.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from benchmarks.trainer_figures import goals_of, missed, tables
from benchmarks.trainer_files import checkpoint_section
from benchmarks.trainer_gpu import gpu_section
from benchmarks.trainer_grpo import grpo_section
from benchmarks.trainer_loss import loss_section
from benchmarks.trainer_models import BUILD, SUBJECTS, Subject, threads, written
from benchmarks.trainer_resume import resume_section
from benchmarks.trainer_sft import sft_section

RESULT = Path("benchmarks/results/trainer.json")
SO_FAR = BUILD / "so-far.json"
"""What there is, should a later section fail."""
Result = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """How much is measured. None: what the model asks for."""

    subjects: Sequence[Subject] = tuple(SUBJECTS.values())
    seeds: int = 3
    turns: int | None = None
    sft_steps: int | None = None
    loss_rows: int = 4
    loss_rounds: int = 2
    mib: int = 1024
    rounds: int = 5
    kills: int = 4


SMALL = Sizes(
    seeds=2, turns=3, sft_steps=210, loss_rows=1, loss_rounds=1, mib=64, rounds=2, kills=1
)
SECTIONS: Mapping[str, Callable[[Sizes], Result | None]] = {
    "grpo": lambda s: grpo_section(s.subjects, s.seeds, s.turns, s.sft_steps),
    "sft": lambda s: sft_section(s.subjects, s.turns),
    "loss": lambda s: loss_section(s.loss_rows, 1024, s.loss_rounds),
    "checkpoint": lambda s: checkpoint_section(s.mib, s.rounds),
    "resume": lambda s: resume_section(s.kills, s.sft_steps),
    "gpu": lambda _: gpu_section(),
}


def main() -> int:
    """Measure, write the result; 1 with a sentence for each goal that is missed."""
    args = _arguments()
    sizes = SMALL if args.small else Sizes()
    sizes = replace(sizes, subjects=tuple(SUBJECTS[name] for name in args.models))
    result: Result = {"machine": machine(), "threads": threads(), "load": {}}
    for name in args.only or SECTIONS:
        print(f"{name} ...", flush=True)
        before = os.getloadavg()[0]
        found = SECTIONS[name](sizes)
        if found is None:
            print("  nothing to measure it on")
            continue
        result[name] = found
        result["load"][name] = {"before": round(before, 1)}
        written(SO_FAR, result)
    result["goals"] = goals_of(result)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + "\n")
    print("\n\n".join(tables(result)))
    sentences = missed(result["goals"])
    print("\n" + ("\n".join(f"missed: {s}" for s in sentences) or "every goal is met"))
    return 1 if sentences else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.trainer",
        description=(__doc__ or "").split("\n", maxsplit=1)[0],
        epilog="example: python -m benchmarks.trainer --small --only grpo --models 0.6M",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=SECTIONS,
        metavar="SECTION",
        help=f"some of {', '.join(SECTIONS)} (default: all)",
    )
    parser.add_argument(
        "--models",
        nargs="+",
        choices=SUBJECTS,
        default=list(SUBJECTS),
        metavar="MODEL",
        help=f"of grpo and sft: some of {', '.join(SUBJECTS)} (default: all)",
    )
    parser.add_argument("--small", action="store_true", help="little of everything: does it work?")
    parser.add_argument(
        "--out",
        type=Path,
        help=f"where the result goes (default: {RESULT} for all of it in full size, else nowhere)",
    )
    args = parser.parse_args()
    whole = not args.only and len(args.models) == len(SUBJECTS)
    if args.out is None and not args.small and whole:
        args.out = RESULT
    return args


if __name__ == "__main__":
    sys.exit(main())
