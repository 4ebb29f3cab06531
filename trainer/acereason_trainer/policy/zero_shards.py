"""What DeepSpeed holds of an optimizer's state on a rank, and how a part of it is set.

It has three optimizers, each with other names for the same: one for ZeRO-1 in bfloat16, one for
ZeRO-2 and the rest of ZeRO-1, and one for ZeRO-3. What a policy needs of them stands here.
"""

import math
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from deepspeed.runtime.bf16_optimizer import BF16_Optimizer
from deepspeed.runtime.zero.offload_config import OffloadStateTypeEnum
from deepspeed.utils import (
    safe_set_full_fp32_param,
    safe_set_full_optimizer_state,
    safe_set_local_fp32_param,
    safe_set_local_optimizer_state,
)
from torch import Tensor

from acereason_trainer.policy.room import moments_of
from acereason_trainer.policy.state_files import FIRST, SECOND, WEIGHT

_BUCKETS = (OffloadStateTypeEnum.contiguous_grad_buffer,)
"""Where ZeRO-3 gathers gradients to reduce them: made anew when they are needed."""


class Shards(Protocol):
    """Of one of the three."""

    def begin(self) -> None:
        """Before the first step: what DeepSpeed does not make by itself."""

    def states(self) -> Iterator[Tensor]:
        """What it holds of a step on this rank's device between two steps: master weights, moments,
        and gradients where they are not zeros then.

        Moved DeepSpeed's own way, views of it would be left behind (ZeRO-1 and 2), or all but its
        own AdamW be refused (ZeRO-3).
        """

    def zeros(self) -> Iterator[Tensor]:
        """Gradients that are zeros between two steps."""

    def free_buckets(self) -> None:
        """Free what is of no step, where DeepSpeed keeps such."""

    def make_buckets(self) -> None:
        """Undo it."""

    def after_step(self, norm: float) -> None:
        """norm: of the gradient, before it was clipped."""

    def set(self, parameter: Any, part: str, value: Tensor) -> None:
        """A parameter's part of the state (state_files.py), from its whole value on this rank's
        device. Parts that are set before the first step may be lost in it."""


def shards_of(engine: Any, stage: int, *, on_host: bool, rank: int) -> Shards:
    """Of a DeepSpeed engine. on_host: whether its steps are taken on the host."""
    if stage == 3:
        return _OfZero3(engine, on_host=on_host, rank=rank)
    if isinstance(engine.optimizer, BF16_Optimizer):
        return _OfZero1InBfloat16(engine, on_host=on_host)
    return _OfZero2(engine, on_host=on_host)


class _OfZero2:
    """ZeRO-1, too, where it is not in bfloat16 or its steps are taken on the host."""

    def __init__(self, engine: Any, *, on_host: bool) -> None:
        self._optimizer, self._adamw = engine.optimizer, engine.basic_optimizer
        self._on_host = on_host

    def begin(self) -> None:
        """Moments of zero: it looks for moments once, when the first of the two parameter groups
        has been stepped, and never finds those that torch makes after that."""
        for group in self._adamw.param_groups:
            for flat in group["params"]:
                self._adamw.state[flat] = {
                    "step": torch.tensor(0.0),
                    FIRST: torch.zeros_like(flat),
                    SECOND: torch.zeros_like(flat),
                }

    def states(self) -> Iterator[Tensor]:
        if not self._on_host:
            yield from self._master_weights()
            yield from moments_of(self._adamw)

    def _master_weights(self) -> Iterator[Tensor]:
        yield from self._optimizer.single_partition_of_fp32_groups

    def zeros(self) -> Iterator[Tensor]:
        yield from ()

    def free_buckets(self) -> None:
        pass

    def make_buckets(self) -> None:
        pass

    def after_step(self, norm: float) -> None:
        """On the host DeepSpeed leaves a step out whose gradient is no number, but adds the next
        gradients to what it has summed."""
        if self._on_host and not math.isfinite(norm):
            sums = self._optimizer.averaged_gradients
            sums.update(dict.fromkeys(sums))

    def set(self, parameter: Any, part: str, value: Tensor) -> None:
        if part == WEIGHT:
            safe_set_full_fp32_param(parameter, value)
        else:
            safe_set_full_optimizer_state(parameter, value, part)


class _OfZero1InBfloat16(_OfZero2):
    """It keeps the gradients of the whole model on every rank."""

    def _master_weights(self) -> Iterator[Tensor]:
        yield from self._optimizer.fp32_groups_flat_partition

    def zeros(self) -> Iterator[Tensor]:
        yield from self._optimizer.fp32_groups_gradients_flat


class _OfZero3:
    def __init__(self, engine: Any, *, on_host: bool, rank: int) -> None:
        self._engine, self._on_host, self._rank = engine, on_host, rank

    def begin(self) -> None:
        pass

    def states(self) -> Iterator[Tensor]:
        if not self._on_host:
            yield self._engine.optimizer.grad_partitions_flat_buffer
            yield from self._engine.optimizer.fp32_partitioned_groups_flat
            yield from moments_of(self._engine.basic_optimizer)

    def zeros(self) -> Iterator[Tensor]:
        yield from ()

    def free_buckets(self) -> None:
        self._engine.offload_states(include=_BUCKETS, pin_memory=False)

    def make_buckets(self) -> None:
        self._engine.reload_states()

    def after_step(self, norm: float) -> None:
        pass

    def set(self, parameter: Any, part: str, value: Tensor) -> None:
        """Of its own setters, that of a whole tensor fails where ranks do not divide it."""
        size = parameter.ds_tensor.numel()
        own = value.flatten()[self._rank * size : (self._rank + 1) * size]
        own = torch.nn.functional.pad(own, (0, size - own.numel()))
        if part == WEIGHT:
            safe_set_local_fp32_param(parameter, own)
        else:
            safe_set_local_optimizer_state(parameter, own, part)
