"""TRL's ways to make a GRPO step, a few steps of each: which is its fastest, measured and not said.

One after the other, each alone on the machine. A way that does not work here has its error.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from benchmarks.contest import in_short, in_turns
from benchmarks.intervals import quartiles
from benchmarks.trainer_grpo import PEER, WARM_UP, peer
from benchmarks.trainer_models import TINY, Subject, start_checkpoint

TURNS = 6
SIZES = (32, 64, 128, 256)
"""Responses that TRL trains on at once, of 256 of a step."""
CONTINUOUS, COLOCATED = "continuous batching", "vLLM, colocated"


def peer_modes_section(sft_steps: int | None = None) -> dict[str, Any]:
    """The 0.6M: median seconds of each way, or why it failed."""
    start = start_checkpoint(TINY, sft_steps)
    seconds, failed = {}, {}
    for mode, (subject, changed) in modes(TINY).items():
        try:
            contestant = peer(subject, start, 0, TURNS, changed, log=f"trl {mode}")
            done = in_turns([contestant], TURNS, mode)
            seconds[mode] = quartiles([a["seconds"] for a in done[PEER][WARM_UP:]], 3)
        except RuntimeError as error:
            failed[mode] = in_short(str(error))
    if not seconds:
        raise RuntimeError(f"no way of TRL's works: {failed}")
    return {"model": TINY.name, "used": used(TINY), "seconds": seconds, "failed": failed}


def modes(subject: Subject) -> dict[str, tuple[Subject, Mapping[str, Any]]]:
    """What each trains on at once and how it caches, and what else it changes in TRL's settings."""
    plain: Mapping[str, Any] = {}
    alike = [
        replace(subject, peer_cache=cache, per_device=size)
        for cache in ("static", None)
        for size in SIZES
    ]
    growing = replace(subject, peer_cache=None)
    return {
        **{used(way): (way, plain) for way in alike},
        CONTINUOUS: (growing, {"use_transformers_continuous_batching": True}),
        COLOCATED: (
            growing,
            {"use_vllm": True, "vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.1},
        ),
    }


def used(subject: Subject) -> str:
    """The way in which TRL takes part in the contest."""
    return f"{subject.peer_cache or 'growing'} cache, {subject.per_device} at once"
