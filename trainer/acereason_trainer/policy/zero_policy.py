"""Several ranks, DeepSpeed's ZeRO: optimizer, gradients and weights spread over all of them.

Each rank runs its share of a batch's micro-batches, all ranks as many. DeepSpeed averages gradients
over ranks, and the batch's weights already hold the whole denominator, so the loss is multiplied by
the number of ranks: the sum comes out exact. Gradients are reduced and accumulated in float32, and
the master weights are float32, as in the policy of one process. All ranks must call every method,
in the same order.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import deepspeed
import torch
from deepspeed import zero
from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state
from torch import Tensor

from acereason_trainer.config.common import ModelLoading, Zero
from acereason_trainer.config.sft import Optimizer
from acereason_trainer.peers import Peers
from acereason_trainer.policy import loading as loader
from acereason_trainer.policy.exporting import export_model
from acereason_trainer.policy.forward import Scoring, logprobs_of
from acereason_trainer.policy.loss import TOTALS, loss_of, totals_of, update_of
from acereason_trainer.policy.micro_batches import (
    Layout,
    MicroBatch,
    micro_batches,
    weightless,
)
from acereason_trainer.policy.protocol import Batch, Update
from acereason_trainer.policy.room import Room
from acereason_trainer.policy.schedule import learning_rate
from acereason_trainer.policy.state_files import (
    FIRST,
    SECOND,
    WEIGHT,
    Parts,
    Snapshot,
    read_parts,
    read_steps,
    share_bytes,
    snapshot,
    write_parts,
    write_steps,
)
from acereason_trainer.policy.torch_policy import decayed_and_not
from acereason_trainer.policy.zero_engine import engine_settings, prepare_process, spread
from acereason_trainer.policy.zero_shards import shards_of

_PREFIX = "model."
"""Where a parameter of the language model is within Scoring."""


class ZeroPolicy:
    """A causal language model over all ranks of an attempt, with float32 master weights and AdamW.

    With ZeRO-3 no rank has all weights; `model` is then a copy that is whole, made anew when it is
    asked for after a step.
    """

    def __init__(
        self,
        directory: Path,
        *,
        loading: ModelLoading,
        optimizer: Optimizer,
        total_steps: int | None,
        tokens_per_micro_batch: int,
        settings: Zero,
        activation_checkpointing: bool,
        peers: Peers,
        layout: Layout = "packed",
        check_stop: Callable[[], None] = lambda: None,
    ) -> None:
        """check_stop: called by all ranks between micro-batches; raises Stopped on all or none."""
        self.tokenizer = loader.load_tokenizer(directory)
        self._directory, self._loading = directory, loading
        self._stage = settings.stage
        self._device = loader.device()
        self._optimizer_settings = optimizer
        self._total = total_steps
        self._budget = tokens_per_micro_batch
        self._peers = peers
        self._check_stop = check_stop
        self._steps = 0
        self._room = Room()
        self._whole: Any = None
        self._whole_is_of = -1
        self._layout = layout
        prepare_process()
        told = engine_settings(settings, loading, optimizer.grad_clip, self._device)
        model = loader.load_model(directory, loading, torch.device("cpu"))
        first, second = optimizer.betas
        adamw = torch.optim.AdamW(
            decayed_and_not(
                (p for p in model.parameters() if p.requires_grad), optimizer.weight_decay
            ),
            lr=optimizer.learning_rate,
            betas=(first, second),
            fused=settings.offload_optimizer or None,
        )
        scoring = Scoring(model, recompute=activation_checkpointing, layout=layout)
        if settings.stage == 3:
            spread(scoring, told, self._device)
        self._engine, self._optimizer, _, _ = deepspeed.initialize(
            model=scoring, optimizer=adamw, config=told, dist_init_required=False
        )
        self._parameters = {
            name.removeprefix(_PREFIX): p
            for name, p in self._engine.module.named_parameters()
            if p.requires_grad
        }
        on_host = settings.offload_optimizer
        self._shards = shards_of(self._engine, settings.stage, on_host=on_host, rank=peers.rank)
        self._shards.begin()
        self._settle()

    @property
    def steps(self) -> int:
        """Optimizer steps that its weights have taken."""
        return self._steps

    @property
    def model(self) -> Any:
        """The torch module with all weights, in evaluation mode."""
        if self._stage < 3:
            return self._engine.module.model
        if self._whole is None:
            self._whole = loader.load_model(self._directory, self._loading)
        if self._whole_is_of != self._steps:
            whole = dict(self._whole.named_parameters())
            with torch.no_grad():
                for name, tensor in self.weights():
                    whole[name].copy_(tensor)
            self._whole_is_of = self._steps
        return self._whole

    @property
    def device(self) -> torch.device:
        """Where this rank computes."""
        return self._device

    def step(self, batch: Batch) -> Update:
        """One optimizer step over all sequences, accumulated over ranks and micro-batches.

        The update is the same on every rank. Numbers that are none leave the weights as they were.
        Raises Stopped between micro-batches, on all ranks; the policy can then still be saved, at
        the step before, and no more.
        """
        self.take_room()
        own = torch.zeros(TOTALS, dtype=torch.float64)
        parts = micro_batches(
            batch,
            self._budget,
            self._device,
            rank=self._peers.rank,
            world=self._peers.world,
            layout=self._layout,
        )
        for part, is_last in _and_last(parts, without_any=weightless(self._device)):
            self._check_stop()
            own += self._accumulate(part, batch.temperature, is_last=is_last)
        rate = learning_rate(self._optimizer_settings, self._steps, self._total)
        norm = self._descend(rate)
        if math.isfinite(norm):
            self._steps += 1
        totals = torch.stack(self._peers.together(lambda: own)).sum(0)
        return update_of(totals, norm, rate)

    def _accumulate(self, part: MicroBatch, temperature: float, *, is_last: bool) -> Tensor:
        """Forward and backward of one micro-batch; its [TOTALS]."""
        self._engine.set_gradient_accumulation_boundary(is_last)
        logprobs, entropy = self._engine(*part.inputs, temperature)
        loss = loss_of(part, logprobs)
        self._engine.backward(loss * self._peers.world, scale_wrt_gas=False)
        if not part.counts:
            return torch.zeros(TOTALS)
        return totals_of(part, loss, logprobs, entropy)

    def _descend(self, rate: float) -> float:
        """Clip, AdamW, round the master weights into the model; returns the gradient's norm."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._engine.step()
        norm = float(self._engine.get_global_grad_norm())
        self._shards.after_step(norm)
        return norm

    def _settle(self) -> None:
        """Take a step that changes nothing: a gradient of zero, at rate zero.

        In it DeepSpeed makes what it makes in a first step, and brings its master weights into the
        model, however they came to be.
        """
        self._accumulate(weightless(self._device), 1.0, is_last=True)
        self._descend(0.0)
        self._count_steps()

    def _count_steps(self) -> None:
        """AdamW's own count, for its bias correction."""
        for state in self._adamw.state.values():
            state["step"].fill_(float(self._steps))

    @property
    def _adamw(self) -> torch.optim.Optimizer:
        adamw: torch.optim.Optimizer = self._engine.basic_optimizer
        return adamw

    @torch.no_grad()
    def logprobs(self, sequences: Sequence[Sequence[int]]) -> list[Tensor]:
        """log p of each token after the first, at temperature 1."""
        return logprobs_of(self._engine, sequences, self._device, self._layout)

    def make_room(self) -> None:
        """Move this rank's share of moments, float32 weights and gradients to the host."""
        self._shards.free_buckets()
        self._room.make(self._shards.states(), self._shards.zeros())

    def take_room(self) -> None:
        """Move it back."""
        self._shards.make_buckets()
        self._room.take()

    @property
    def room_bytes(self) -> int:
        """Bytes that `make_room` moves from this rank's GPU to the host; 0 before the first."""
        return self._room.bytes

    @property
    def state_bytes(self) -> int:
        """Bytes of this rank's share of the state."""
        return share_bytes(self._sizes, rank=self._peers.rank, world=self._peers.world)

    def save_state(self, directory: Path) -> list[Path]:
        """Master weights, AdamW's moments and the schedule's position, bit for bit.

        Every rank writes a share of the parameters, into the same directory.
        """
        self.take_room()
        ranks = {"rank": self._peers.rank, "world": self._peers.world}
        files = write_parts(directory, self._sizes, self._parts_of, **ranks)
        if self._peers.leads:
            files.append(write_steps(directory, self._steps))
        return files

    def snapshot(self) -> Snapshot:
        """The same, copied into the host's memory."""
        self.take_room()
        ranks = {"rank": self._peers.rank, "world": self._peers.world}
        return snapshot(self._steps, self._sizes, self._parts_of, **ranks)

    @property
    def _sizes(self) -> dict[str, int]:
        return {name: _elements(p) for name, p in self._parameters.items()}

    def _parts_of(self, name: str) -> Parts:
        p = self._parameters[name]
        return {
            WEIGHT: safe_get_full_fp32_param(p).view(_shape(p)),
            FIRST: safe_get_full_optimizer_state(p, FIRST).view(_shape(p)),
            SECOND: safe_get_full_optimizer_state(p, SECOND).view(_shape(p)),
        }

    def load_state(self, directory: Path) -> None:
        """Go on exactly where `save_state` was called, by whatever number of ranks."""
        self.take_room()
        self._steps = read_steps(directory)
        names = list(self._parameters)
        # Settling takes an AdamW step, so moments come after it.
        for name, parts in read_parts(directory, names, (WEIGHT,)):
            self._set(name, WEIGHT, parts[WEIGHT])
        self._settle()
        for name, parts in read_parts(directory, names, (FIRST, SECOND)):
            self._set(name, FIRST, parts[FIRST])
            self._set(name, SECOND, parts[SECOND])
        self._whole_is_of = -1

    def _set(self, name: str, part: str, value: Tensor) -> None:
        self._shards.set(self._parameters[name], part, value.to(self._device))

    def export(self, directory: Path) -> None:
        """A Hugging Face directory that `from_pretrained` reads, written by the leader."""
        weights = {
            name: tensor.cpu() if self._peers.leads else None for name, tensor in self.weights()
        }
        if self._peers.leads:
            export_model(self._engine.module.model, self.tokenizer, directory, weights)

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Every weight by its name in a checkpoint, whole, one at a time; a copy is the caller's to
        make."""
        for name, p in self._engine.module.model.named_parameters():
            with zero.GatheredParameters([p], enabled=self._stage == 3):
                yield name, p.detach()


def _and_last(
    parts: Iterator[MicroBatch], *, without_any: MicroBatch
) -> Iterator[tuple[MicroBatch, bool]]:
    """Each micro-batch and whether it is the last one.

    One rank has none of a batch without signal, and the engine takes no step without a gradient:
    `without_any` then stands in.
    """
    held = next(parts, without_any)
    for following in parts:
        yield held, False
        held = following
    yield held, True


def _elements(p: Any) -> int:
    return int(p.ds_numel) if hasattr(p, "ds_numel") else int(p.numel())


def _shape(p: Any) -> torch.Size:
    return torch.Size(p.ds_shape) if hasattr(p, "ds_shape") else p.shape
