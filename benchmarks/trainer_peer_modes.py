"""TRL's ways to make a GRPO step, a few steps of each: which is its fastest, measured and not said.

One after the other, each alone on the machine. A way that does not work here has its error. TRL can
draw with vLLM, too, which its environment has not: that way is not tried.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.contest import Answer, OutOfTurn, in_short, in_turns, versions_of
from benchmarks.intervals import quartiles
from benchmarks.trainer_grpo import PEER, WARM_UP, peer
from benchmarks.trainer_models import REAL, TINY, Subject, start_checkpoint

CONTINUOUS = "continuous batching"
NOT_THE_WAYS = ("ImportError", "ModuleNotFoundError", "TypeError", "AttributeError", "NameError")
"""Errors of an environment or of a setting that TRL does not know: they end the part."""


@dataclass(frozen=True)
class Tried:
    """What is tried of a model."""

    sizes: tuple[int, ...]
    """Responses that TRL trains on at once."""
    turns: int
    others: tuple[str, ...] = ()


TRIED = {
    TINY.name: Tried((32, 64, 128, 256), turns=6, others=(CONTINUOUS,)),
    # A step takes half a minute, and all 32 responses at once some 12 GB.
    REAL.name: Tried((4, 8, 16, 32), turns=3),
}


def peer_modes_section(
    subject: Subject, turns: int | None = None, sft_steps: int | None = None
) -> dict[str, Any]:
    """One model: median seconds of each way, or why it failed."""
    start = start_checkpoint(subject, sft_steps)
    turns = turns or TRIED[subject.name].turns
    seconds, failed, versions = {}, {}, {}
    for mode, (way, changed) in modes(subject).items():
        try:
            contestant = peer(way, start, 0, turns, changed, log=f"trl {mode}")
            done = in_turns([contestant], turns, f"{subject.name}, {mode}, turns")
        except OutOfTurn:
            raise
        except RuntimeError as error:
            failed[mode] = why_not(error)
            continue
        seconds[mode] = _seconds(done[PEER])
        versions = versions_of(done)
    if not seconds:
        raise RuntimeError(f"no way of TRL's works: {failed}")
    return {"turns": turns, "seconds": seconds, "failed": failed, "peerVersions": versions}


def modes(subject: Subject) -> dict[str, tuple[Subject, Mapping[str, Any]]]:
    """What each trains on at once and how it caches, and what else it changes in TRL's settings."""
    tried = TRIED[subject.name]
    plain: Mapping[str, Any] = {}
    growing = replace(subject, peer_cache=None)
    others = {CONTINUOUS: (growing, {"use_transformers_continuous_batching": True})}
    return {
        **{
            way_of(cache, size): (replace(subject, peer_cache=cache, per_device=size), plain)
            for cache in ("static", None)
            for size in tried.sizes
        },
        **{name: others[name] for name in tried.others},
    }


def way_of(cache: str | None, per_device: int) -> str:
    """What a way is called. per_device: responses that it trains on at once."""
    return f"{cache or 'growing'} cache, {per_device} at once"


def why_not(error: RuntimeError) -> str:
    """Why a way does not work here. Raises the error where it says nothing of the way."""
    why = in_short(str(error))
    if any(f"{kind}:" in why for kind in NOT_THE_WAYS):
        raise error
    return why


def _seconds(answers: list[Answer]) -> dict[str, float]:
    return quartiles([a["seconds"] for a in answers[WARM_UP:]], 3)
