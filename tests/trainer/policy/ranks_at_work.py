"""What two ranks do for test_zero_policy.py: `python -m tests.trainer.policy.ranks_at_work DIR`.

One start for all cases: importing torch and DeepSpeed twice takes longer than all of them. The
first rank writes what came out to DIR/found.json; states and exports lie beside it.
"""

import gc
import json
import math
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from acereason_trainer.config.common import ModelLoading, Zero
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.sft import Optimizer
from acereason_trainer.peers import Peers
from acereason_trainer.policy import head, room, zero_policy
from acereason_trainer.policy.amx import make_bfloat16_safe
from acereason_trainer.policy.loading import load_model
from acereason_trainer.policy.protocol import Policy, Update
from acereason_trainer.policy.zero_engine import engine_settings, spread
from acereason_trainer.policy.zero_policy import ZeroPolicy
from acereason_trainer.process_group import meet
from acereason_trainer.stage import StageFailure, Stopped
from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus
from torch import Tensor

from tests.trainer.policy.batches import (
    FEW,
    LENGTH,
    OPTIMIZER,
    STEPS,
    a_batch,
    batches,
    many_small_gradients,
)

HALF = STEPS // 2


class Desk:
    """Makes policies of one model for these ranks."""

    def __init__(self, directory: Path, peers: Peers) -> None:
        self.directory = directory
        self.peers = peers

    def policy(self, stage: int, *, offload: bool = False, **options: Any) -> ZeroPolicy:
        told = {
            "loading": ModelLoading(dtype=options.pop("dtype", "float32")),
            "optimizer": Optimizer(**OPTIMIZER),
            "total_steps": STEPS,
            "tokens_per_micro_batch": 64,
            "activation_checkpointing": False,
        }
        return ZeroPolicy(
            self.directory / "model",
            settings=Zero(stage=stage, offload_optimizer=offload),
            peers=self.peers,
            **{**told, **options},
        )

    def below(self, name: str) -> Path:
        """A directory that all ranks know."""
        directory = self.directory / name
        self.peers.led(lambda: directory.mkdir(exist_ok=True))
        return directory


OF_A_LARGE_MODEL = {
    "reduce_bucket_size": 4000,
    "stage3_param_persistence_threshold": 0,
    "stage3_prefetch_bucket_size": 1000,
    "stage3_max_live_parameters": 4000,
    "stage3_max_reuse_distance": 4000,
    "sub_group_size": 4000,
}
"""What DeepSpeed would have to hold to be at its limits with a tiny model, as it is with a large
one: by default all of this one would stay whole on every rank, and be reduced and stepped at
once."""


def engine_settings_of_a_large_model(*told: Any) -> dict[str, Any]:
    """What DeepSpeed is told in all cases here."""
    settings = engine_settings(*told)
    of_zero = settings["zero_optimization"]
    of_zero |= {
        name: limit
        for name, limit in OF_A_LARGE_MODEL.items()
        if of_zero["stage"] == 3 or name == "reduce_bucket_size"
    }
    return settings


AS_14B_RUNS = {"offload": True, "activation_checkpointing": True}


def main() -> None:
    make_bfloat16_safe()
    torch.set_num_threads(1)
    zero_policy.engine_settings = engine_settings_of_a_large_model
    room.takes_room = lambda tensor: True  # as if it were on a GPU
    with meet(os.environ) as peers:
        desk = Desk(Path(sys.argv[1]), peers)
        found = {f"stage {stage}": of_stage(desk, stage) for stage in (1, 2, 3)}
        found["bfloat16"] = {f"stage {stage}": in_bfloat16(desk, stage) for stage in (1, 2, 3)}
        found["not a number in bfloat16"] = {
            f"stage {stage}": not_a_number(desk, stage, "bfloat16") for stage in (1, 2, 3)
        }
        found["not a number as 14B runs"] = {
            f"stage {stage}": not_a_number(desk, stage, "bfloat16", **AS_14B_RUNS)
            for stage in (2, 3)
        }
        found["as 14B runs"] = few_steps(desk, (2, 3), dtype="bfloat16", **AS_14B_RUNS)
        found["sampled as 14B runs"] = {
            f"stage {stage}": between_drawings_of(desk, stage, "bfloat16", **AS_14B_RUNS)
            for stage in (2, 3)
        }
        found["many small gradients"] = {
            f"stage {stage}": many_small_gradients(
                desk.policy(stage, dtype="bfloat16", tokens_per_micro_batch=LENGTH), peers.world
            )
            for stage in (1, 2, 3)
        }
        found["offload"] = few_steps(desk, (2, 3), offload=True)
        found["checkpointing"] = few_steps(desk, (2, 3), activation_checkpointing=True)
        found["padded"] = few_steps(desk, (2, 3), layout="padded")
        found["chunks"] = in_chunks(desk)
        found["copied"] = copied_while_loading(desk)
        found["sampled"] = between_drawings(desk, "float32")
        found["sampled in bfloat16"] = between_drawings(desk, "bfloat16")
        found["ends"] = ends(peers)
        if peers.leads:
            (desk.directory / "found.json").write_text(json.dumps(found))


def trained(policy: Policy, first: int = 0, last: int = STEPS) -> list[dict[str, float]]:
    """Updates of the steps [first, last)."""
    return [asdict(policy.step(batch)) for batch in batches()[first:last]]


def in_bfloat16(desk: Desk, stage: int) -> list[dict[str, float]]:
    """Updates of the first steps; the state after them is written."""
    policy = desk.policy(stage, dtype="bfloat16")
    updates = trained(policy, 0, FEW)
    policy.save_state(desk.below(f"bfloat16-{stage}"))
    return updates


def few_steps(desk: Desk, stages: Iterable[int], **options: Any) -> dict[str, Any]:
    """Updates of the first steps with an option, by stage."""
    return {f"stage {s}": trained(desk.policy(s, **options), 0, FEW) for s in stages}


def between_drawings(desk: Desk, dtype: str) -> dict[str, Any]:
    """What came of a sampler's turns, by stage."""
    return {f"stage {s}": between_drawings_of(desk, s, dtype) for s in (1, 2, 3)}


def between_drawings_of(desk: Desk, stage: int, dtype: str, **options: Any) -> dict[str, Any]:
    """Updates of the first steps with a sampler's turn before each; what it was told last, and how
    much of what the ranks hold was freed for it, as a share of their state. That is written in the
    middle of another turn."""
    policy, updates, freed = desk.policy(stage, dtype=dtype, **options), [], 0
    for batch in batches()[:FEW]:
        held = [o for o in gc.get_objects() if issubclass(type(o), Tensor)]
        before = bytes_of(held)
        policy.make_room()
        freed = before - bytes_of(held)
        weights = {name: weight.sum().item() for name, weight in policy.weights()}
        scores = [s.tolist() for s in policy.logprobs(a_batch().sequences)]
        policy.take_room()
        updates.append(asdict(policy.step(batch)))
    policy.make_room()
    policy.save_state(desk.below("-".join(["sampled", *options, dtype, str(stage)])))
    pairs = desk.peers.together(lambda: (freed, policy.state_bytes))
    all_freed, of_states = map(sum, zip(*pairs, strict=True))
    return {
        "updates": updates,
        "scores": scores,
        "weights": weights,
        "freed": all_freed / of_states,
    }


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """What they hold, and what several hold once."""
    memory = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}
    return sum(memory.values())


def in_chunks(desk: Desk) -> dict[str, Any]:
    """Updates of the first steps with few logits at once, by stage."""
    before, head.LOGITS_AT_ONCE = head.LOGITS_AT_ONCE, 98 * 7
    try:
        return few_steps(desk, (2, 3))
    finally:
        head.LOGITS_AT_ONCE = before


def copied_while_loading(desk: Desk) -> list[dict[str, float]]:
    """By rank, as shares of the model's weights: memory for them after loading, and when each rank
    has been left its own."""
    model = desk.directory / "large"
    loading = ModelLoading(dtype="bfloat16")
    load_model(model, loading, torch.device("cpu"))  # what is imported and made once
    before = anonymous_bytes()
    module = load_model(model, loading, torch.device("cpu"))
    size = sum(p.nbytes for p in module.parameters())
    loaded = anonymous_bytes()
    told = engine_settings(Zero(stage=3), loading, 1.0, torch.device("cpu"))
    spread(module, told, torch.device("cpu"))
    own = {"loaded": (loaded - before) / size, "spread": (anonymous_bytes() - before) / size}
    return desk.peers.together(lambda: own)


def anonymous_bytes() -> int:
    """Memory of this process that is no map of a file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def of_stage(desk: Desk, stage: int) -> dict[str, Any]:
    """Straight on; saved half-way and gone on with; gone on with from one process's state."""
    straight = desk.policy(stage)
    updates = trained(straight, 0, HALF)
    state = desk.below(f"half-{stage}")
    straight.snapshot().write(state)
    updates += trained(straight, HALF)
    straight.save_state(desk.below(f"end-{stage}"))
    straight.export(desk.below(f"export-{stage}"))

    resumed = desk.policy(stage)
    resumed.load_state(state)
    after = trained(resumed, HALF)
    resumed.save_state(desk.below(f"resumed-{stage}"))

    of_one = desk.policy(stage)
    of_one.load_state(desk.directory / "of-one")
    one_then_two = trained(of_one, HALF)
    return {
        "straight": updates,
        "whole between steps": whole_of(straight) if stage == 3 else None,
        "resumed": after,
        "one process, then two": one_then_two,
        "without signal": asdict(without_signal(desk.policy(stage))),
        "not a number": not_a_number(desk, stage),
    }


def whole_of(policy: ZeroPolicy) -> list[str]:
    """Parameters that this rank has whole between two steps."""
    of_rank = policy._engine.module.named_parameters()
    return [name for name, p in of_rank if p.ds_status != ZeroParamStatus.NOT_AVAILABLE]


def without_signal(policy: Policy) -> Update:
    """A step on a batch of no sequences."""
    return policy.step(replace(a_batch(), sequences=[], prompt_lengths=[], token_weights=[]))


def not_a_number(desk: Desk, stage: int, dtype: str = "float32", **options: Any) -> dict[str, Any]:
    """A step on numbers that are none, and the good step after it."""
    policy, batch = desk.policy(stage, dtype=dtype, **options), a_batch()
    bad = policy.step(replace(batch, token_weights=[w * math.nan for w in batch.token_weights]))
    return {"norm is finite": math.isfinite(bad.grad_norm), "then": asdict(policy.step(batch))}


def ends(peers: Peers) -> list[dict[str, Any]]:
    """By rank: how work ended that did not end alike on both."""

    def stop() -> None:
        raise Stopped

    def fail() -> None:
        raise StageFailure(ExitCode.CORRUPT_INPUT, "Damaged", "a file is damaged")

    def told(settle: Callable[[], Any]) -> Any:
        try:
            return settle()
        except Stopped:
            return "stopped"
        except StageFailure as e:
            return [int(e.code), e.reason, e.message]

    def by_rank(first: Callable[[], Any], second: Callable[[], Any]) -> Any:
        return told(lambda: peers.together(second if peers.rank else first))

    own = {
        "both well": by_rank(lambda: 1, lambda: 2),
        "one is stopped": by_rank(lambda: 1, stop),
        "one fails": by_rank(lambda: 1, fail),
        "one fails, one is stopped": by_rank(stop, fail),
        "the leader fails": told(lambda: peers.led(fail)),
        "what the leader says": told(lambda: peers.led(lambda: peers.rank)),
        "what the leader reads": told(lambda: [*peers.stream(lambda: iter("abc"))]),
    }
    return peers.together(lambda: own)


if __name__ == "__main__":
    main()
