"""Memory of two ranks for test_zero_memory.py: `python -m tests.trainer.policy.ranks_measured DIR`.

The first rank writes to DIR/measured.json what it has of tensors, in bytes: between two steps, at
most in a step beyond that, and beside a sampler. Of the host's memory it writes what both ranks
have there: what waits beside a sampler, and a state that is to be written.
"""

import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from acereason_trainer.policy import room, zero_policy
from acereason_trainer.policy.amx import make_bfloat16_safe
from acereason_trainer.policy.zero_engine import engine_settings
from acereason_trainer.policy.zero_policy import ZeroPolicy
from acereason_trainer.process_group import meet
from torch import Tensor

from tests.peak_memory import peak_of_tensors
from tests.trainer.policy.ranks_at_work import Desk, bytes_of
from tests.trainer.policy.small_shape import a_batch

TOKENS = 512
"""Of a micro-batch: few, so that what is measured is mostly the model's."""
BUCKET, GATHERED = 100_000, 400_000
"""In the place of DeepSpeed's own, which are many times this model."""


def main() -> None:
    make_bfloat16_safe()
    torch.set_num_threads(1)
    zero_policy.engine_settings = with_small_buckets
    room.takes_room = lambda tensor: True  # as if it were on a GPU
    kept: list[ZeroPolicy] = []
    with meet(os.environ) as peers:
        desk = Desk(Path(sys.argv[1]), peers)
        found = {
            f"{stage} {dtype}": measured(desk, stage, dtype, kept)
            for stage in (1, 2, 3)
            for dtype in ("float32", "bfloat16")
        }
        if peers.leads:
            (desk.directory / "measured.json").write_text(json.dumps(found))


def with_small_buckets(*told: Any) -> dict[str, Any]:
    """What DeepSpeed is told."""
    settings = engine_settings(*told)
    of_zero = settings["zero_optimization"]
    of_zero["reduce_bucket_size"] = BUCKET
    if of_zero["stage"] == 3:
        of_zero |= {
            "stage3_param_persistence_threshold": 0,
            "stage3_prefetch_bucket_size": GATHERED // 4,
            "stage3_max_live_parameters": GATHERED,
            "stage3_max_reuse_distance": GATHERED,
        }
    return settings


def measured(desk: Desk, stage: int, dtype: str, kept: list[ZeroPolicy]) -> dict[str, int]:
    """Of one policy. It is kept: what went with it would be taken from the next one's."""
    before = bytes_of(tensors())
    policy = desk.policy(
        stage, dtype=dtype, tokens_per_micro_batch=TOKENS, activation_checkpointing=True
    )
    kept.append(policy)
    first, second = (a_batch(TOKENS, desk.peers.world) for _ in range(2))
    policy.step(first)
    between = bytes_of(tensors()) - before
    made = peak_of_tensors(lambda: policy.step(second))
    there = tensors()
    policy.make_room()
    beside = bytes_of(there) - before  # without copies that were made for the host
    waiting = bytes_of(tensors()) - before - beside
    policy.take_room()
    copied = bytes_of(t for p in policy.snapshot().portions for t in p.values())
    of_ranks = desk.peers.together(lambda: (waiting, copied))
    all_waiting, all_copied = map(sum, zip(*of_ranks, strict=True))
    return {
        "between": between,
        "made": made,
        "beside": beside,
        "waiting": all_waiting,
        "copied": all_copied,
    }


def tensors() -> list[Tensor]:
    """All of this process that take memory."""
    gc.collect()
    found = (o for o in gc.get_objects() if issubclass(type(o), Tensor))
    return [t for t in found if t.device.type != "meta"]


if __name__ == "__main__":
    main()
