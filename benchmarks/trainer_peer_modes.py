"""TRL's ways to make a GRPO step, a few steps of each: which is its fastest, measured and not said.

One after the other, each alone on the machine. A way that does not work here has its error.
"""

from collections.abc import Mapping
from typing import Any

from benchmarks.contest import in_short, in_turns
from benchmarks.intervals import quartiles
from benchmarks.trainer_grpo import PEER, WARM_UP, peer
from benchmarks.trainer_models import TINY, Subject, start_checkpoint

TURNS = 3
CONTINUOUS, COLOCATED = "continuous batching", "vLLM, colocated"


def peer_modes_section(sft_steps: int | None = None) -> dict[str, Any]:
    """The 0.6M: median seconds of each way, or why it failed."""
    start = start_checkpoint(TINY, sft_steps)
    seconds, failed = {}, {}
    for mode, changed in modes(TINY).items():
        try:
            contestant = peer(TINY, start, 0, TURNS, changed, log=f"trl {mode}")
            done = in_turns([contestant], TURNS, mode)
            seconds[mode] = quartiles([a["seconds"] for a in done[PEER][WARM_UP:]], 3)
        except RuntimeError as error:
            failed[mode] = in_short(str(error))
    if not seconds:
        raise RuntimeError(f"no way of TRL's works: {failed}")
    return {"model": TINY.name, "used": used(TINY), "seconds": seconds, "failed": failed}


def modes(subject: Subject) -> dict[str, Mapping[str, Any]]:
    """What each changes in TRL's settings."""
    responses = subject.per_device  # of a step: the subject trains on all at once
    found: dict[str, Mapping[str, Any]] = {
        _named(cache, size): {
            "cache_implementation": cache,
            "per_device_train_batch_size": size,
            "gradient_accumulation_steps": responses // size,
        }
        for cache in ("static", None)
        for size in (64, responses)
    }
    found[CONTINUOUS] = {
        "use_transformers_continuous_batching": True,
        "cache_implementation": None,
    }
    found[COLOCATED] = {
        "use_vllm": True,
        "vllm_mode": "colocate",
        "vllm_gpu_memory_utilization": 0.1,
        "cache_implementation": None,
    }
    return found


def used(subject: Subject) -> str:
    """The way in which TRL takes part in the contest."""
    return _named(subject.peer_cache, subject.per_device)


def _named(cache: str | None, size: int) -> str:
    return f"{cache or 'growing'} cache, {size} at once"
