"""How long is a step? Against TRL 1.16 in the fastest mode of it that works here, in turns.

    make bench-trainer             (about 100 minutes on 2 quiet cores)
    python -m benchmarks.trainer --only loss checkpoint
    python -m benchmarks.trainer --only reward-SmolLM2-135M      (an hour, in 24 GB)

    grpo-MODEL   a GRPO step of a 0.6M model or of SmolLM2-135M, and the reward it leads to
    reward-MODEL the same in as many steps as a reward takes to grow; of those that are slow, and
                 measured only where it is asked for
    peer-modes-MODEL
                 TRL's ways to make a step of it: does it take part in its fastest?
    peer-sft-modes-MODEL
                 the same of SFT: TRL's ways to divide a step's batch
    sft-MODEL    document tokens a second against TRL's padded, wrapped and bfd
    loss         peak memory of the loss at a vocabulary of 150K
    push         weights on their way to vLLM, against a copy in memory
    checkpoint   publishing and verifying against cp, sync, sha256sum and openssl
    resume       from a kill to the next step
    profile      where the time of our SFT step and of vLLM's drawing goes
    gpu          where there is one: tokens/s, MFU and phases of Qwen2.5-shaped random weights

TRL has environments of its own (peers/trl.txt; with vLLM peers/trl-vllm.txt) and its settings stand
in peers/train_trl.py. Both trainers are processes that take turns at every step, so that a busy
machine slows both: ratios are what counts. Writes benchmarks/results/trainer.json after each part
and prints its tables; a run that was cut goes on with --only and the parts that are not there.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.contest import in_short
from benchmarks.kept_result import SAME, kept, measured_at, write
from benchmarks.machine import machine
from benchmarks.others_share import OthersShare
from benchmarks.progress import Parts
from benchmarks.trainer_figures import tables
from benchmarks.trainer_files import checkpoint_section
from benchmarks.trainer_goals import goals_of, missed
from benchmarks.trainer_gpu import gpu_section
from benchmarks.trainer_gpu_shapes import SHAPES
from benchmarks.trainer_grpo import grpo_section
from benchmarks.trainer_loss import loss_section
from benchmarks.trainer_models import LEARNING, REAL, TINY, Subject, threads
from benchmarks.trainer_peer_modes import peer_modes_section, peer_sft_modes_section
from benchmarks.trainer_profile import profile_section
from benchmarks.trainer_push import push_section
from benchmarks.trainer_resume import resume_section
from benchmarks.trainer_sft import sft_section

RESULT = Path("benchmarks/results/trainer.json")
Result = dict[str, Any]
FAILURES = (RuntimeError, OSError, subprocess.CalledProcessError)
"""Of a contestant or a stage (what its process said is in its log), or of a disk that is full."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured. None: what the model asks for."""

    seeds: int | None = None
    turns: int | None = None
    sft_turns: int | None = None
    sft_steps: int | None = None
    loss_rows: int = 4
    loss_rounds: int = 3
    peer_turns: int | None = None
    pushes: int = 5
    mib: int = 1024
    rounds: int = 6
    kills: int = 3
    shapes: Sequence[str] | None = None


SMALL = Sizes(
    seeds=2,
    turns=3,
    sft_turns=3,
    sft_steps=210,
    peer_turns=2,
    loss_rows=1,
    loss_rounds=1,
    pushes=2,
    mib=64,
    rounds=2,
    kills=1,
)


@dataclass(frozen=True)
class Part:
    """What is measured at once."""

    section: str
    """Of the result."""
    model: str | None
    """Under which it stands there, where a section has several."""
    minutes: float
    """On 2 quiet cores."""
    measure: Callable[[Sizes], Result]
    asked_for: bool = False
    """Whether only --only measures it: it takes longer than all others."""
    method: int = 1
    """Of measuring it. Raised where figures of before are not what they are taken for today; those
    are not kept."""


PUSH_IN_PARTS = 2
"""Method of the push. The first did not time what it is made of."""
IN_TURNS = 2
"""Method of the parts with contestants that take turns. Those of the first did not all wait."""


def _grpo(
    subject: Subject, minutes: float, section: str = "grpo", *, asked_for: bool = False
) -> Part:
    def measure(s: Sizes) -> Result:
        return grpo_section(
            subject, s.seeds or subject.seeds, s.turns or subject.turns, s.sft_steps
        )

    return Part(section, subject.name, minutes, measure, asked_for, method=IN_TURNS)


def _sft(subject: Subject, minutes: float) -> Part:
    def measure(s: Sizes) -> Result:
        return sft_section(subject, s.sft_turns or subject.sft_turns)

    return Part("sft", subject.name, minutes, measure, method=IN_TURNS)


def _peer_modes(subject: Subject, minutes: float) -> Part:
    def measure(s: Sizes) -> Result:
        return peer_modes_section(subject, s.peer_turns, s.sft_steps)

    return Part("peerWays", subject.name, minutes, measure, method=IN_TURNS)


def _peer_sft_modes(subject: Subject, minutes: float) -> Part:
    def measure(s: Sizes) -> Result:
        return peer_sft_modes_section(subject, s.peer_turns)

    return Part("peerSftWays", subject.name, minutes, measure, method=IN_TURNS)


PARTS: Mapping[str, Part] = {
    f"grpo-{TINY.name}": _grpo(TINY, 22),
    f"sft-{TINY.name}": _sft(TINY, 5),
    f"peer-modes-{TINY.name}": _peer_modes(TINY, 7),
    f"peer-sft-modes-{TINY.name}": _peer_sft_modes(TINY, 3),
    "loss": Part("loss", None, 4, lambda s: loss_section(s.loss_rows, 1024, s.loss_rounds)),
    "push": Part("push", None, 1.5, lambda s: push_section(s.pushes), method=PUSH_IN_PARTS),
    "checkpoint": Part("checkpoint", None, 2, lambda s: checkpoint_section(s.mib, s.rounds)),
    "resume": Part("resume", None, 1.5, lambda s: resume_section(s.kills, s.sft_steps)),
    "gpu": Part("gpu", None, 0.5, lambda s: gpu_section(s.shapes)),
    "profile": Part("profile", None, 1.5, lambda s: profile_section()),
    f"peer-modes-{REAL.name}": _peer_modes(REAL, 12),
    f"peer-sft-modes-{REAL.name}": _peer_sft_modes(REAL, 6),
    f"sft-{REAL.name}": _sft(REAL, 13),
    f"grpo-{REAL.name}": _grpo(REAL, 22),
    f"reward-{REAL.name}": _grpo(LEARNING, 45, "reward", asked_for=True),
}
"""The longest last: of a run that is cut, most is there."""


def main() -> int:
    """Measure, write the result after each part; 1 with a sentence for each goal that is missed."""
    args = arguments()
    sizes = SMALL if args.small else Sizes()
    sizes = replace(sizes, turns=args.turns or sizes.turns, shapes=args.shape)
    names = args.only or [name for name, part in PARTS.items() if not part.asked_for]
    here = measured_on()
    result = still_told(kept(args.out, here, each_says=True), names)
    result |= {"machine": here}
    result |= {name: result.get(name, {}) for name in ("measured", "failed")}
    parts = Parts({name: PARTS[name].minutes for name in names})
    for name in names:
        parts.begin(name)
        others = OthersShare()
        try:
            found = PARTS[name].measure(sizes)
            require_commit(here["commit"])
            _put(result, PARTS[name], found)
            result["measured"][name] = {
                **{field: here[field] for field in ("commit", "date")},
                "machine": {field: here[field] for field in SAME},
                "method": PARTS[name].method,
                "othersShare": round(others.so_far(), 4),
            }
            result["failed"].pop(name, None)
        except FAILURES as error:  # the others can be measured all the same
            print(f"  {name} failed: {error}", flush=True)
            result["failed"][name] = in_short(str(error))
        parts.end(name)
        result["goals"] = goals_of(result)
        result["missing"] = missing_of(result)
        write(args.out, result)
    print("\n\n".join(tables(result)))
    print("\nmeasured {} {}".format(*measured_at(result)))
    sentences = shortcomings(result, whole=args.out is not None and not args.only)
    print("\n" + ("\n".join(sentences) or "every goal is met"))
    return 1 if sentences else 0


def shortcomings(result: Mapping[str, Any], *, whole: bool) -> list[str]:
    """A sentence for all that is not as it is to be. whole: whether everything is to be there."""
    sentences = [f"missed: {goal}" for goal in missed(result["goals"])]
    sentences += [f"failed: {name}" for name in result["failed"]]
    missing = [name for name in result["missing"] if name not in result["failed"]] if whole else []
    return sentences + [f"not measured: {name}; measure it with --only" for name in missing]


def measured_on() -> dict[str, Any]:
    """The machine, and the threads that every contestant has on it."""
    return {**machine(), "threads": threads()}


def require_commit(commit: str) -> None:
    """Raises RuntimeError where it is not the tree's any more: every contestant and stage reads the
    code anew when it starts."""
    if (now := measured_on()["commit"]) != commit:
        raise RuntimeError(f"the code changed meanwhile, from {commit} to {now}")


def missing_of(result: Mapping[str, Any]) -> list[str]:
    """Parts that no start has measured yet."""
    return [name for name, part in PARTS.items() if not _found(result, part)]


def still_told(result: Result, anew: Sequence[str] = ()) -> Result:
    """The parts that are measured as today's are, and that today's tables and goals can read: an
    older commit's may lack what they ask. anew: parts that are about to be measured; where one
    fails, what was there is not its figure."""
    stay: Result = {"measured": {}, "failed": {}}
    for name, part in PARTS.items():
        if name in anew:
            continue
        if name in result.get("failed", {}):
            stay["failed"][name] = result["failed"][name]
        found, measured = _found(result, part), result.get("measured", {}).get(name, {})
        if not found:
            continue
        if why := _unlike(part, found, measured):
            print(f"{name} is left behind: an older commit has measured it otherwise ({why})")
            continue
        _put(stay, part, found)
        stay["measured"][name] = measured
    return stay


def _unlike(part: Part, found: Result, measured: Result) -> str:
    """Why the part cannot stand beside those of today; empty where it can."""
    if measured.get("method") != part.method:
        return f"method {measured.get('method', 'unknown')}, today's is {part.method}"
    if "machine" not in measured:
        return "it names no machine"
    alone: Result = {}
    _put(alone, part, found)
    try:
        tables(alone), goals_of(alone)
    except (KeyError, TypeError) as error:
        return repr(error)
    return ""


def _found(result: Mapping[str, Any], part: Part) -> Result:
    """What was measured; empty where nothing was."""
    section: Result = result.get(part.section, {})
    return section if part.model is None else section.get(part.model, {})


def _put(result: Result, part: Part, found: Result) -> None:
    if part.model is None:
        result[part.section] = found
    else:
        result.setdefault(part.section, {})[part.model] = found


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What was asked for. words: instead of the command line's."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.trainer",
        description=(__doc__ or "").split("\n", maxsplit=1)[0],
        epilog="example: python -m benchmarks.trainer --small --only grpo-0.6M",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=PARTS,
        metavar="PART",
        help=f"some of {', '.join(PARTS)} (default: all but the reward)",
    )
    parser.add_argument(
        "--turns",
        type=int,
        metavar="N",
        help="GRPO steps of each seed, where others than the model's are wanted",
    )
    parser.add_argument(
        "--shape",
        nargs="+",
        choices=SHAPES,
        metavar="SHAPE",
        help=f"of gpu: some of {', '.join(SHAPES)} (default: Qwen2.5's, on a GPU alone)",
    )
    parser.add_argument("--small", action="store_true", help="little of everything: does it work?")
    parser.add_argument(
        "--out",
        type=Path,
        help="where the result goes; parts that are not measured stay what they are there, if a "
        f"commit has measured them, here or elsewhere, which each says (default: {RESULT}, with "
        "--small, --turns or --shape nowhere)",
    )
    args = parser.parse_args(words)
    if args.out is None and not (args.small or args.turns or args.shape):
        args.out = RESULT
    return args


if __name__ == "__main__":
    sys.exit(main())
