"""One process, plain torch: forward, token-weighted loss, AdamW, exact save and load."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from acereason_trainer.config.common import ModelLoading
from acereason_trainer.config.sft import Optimizer
from acereason_trainer.policy import loading as loader
from acereason_trainer.policy.exporting import export_model
from acereason_trainer.policy.forward import Scoring, logprobs_of
from acereason_trainer.policy.loss import TOTALS, loss_of, totals_of, update_of
from acereason_trainer.policy.micro_batches import Layout, micro_batches
from acereason_trainer.policy.protocol import Batch, Update
from acereason_trainer.policy.room import Room, moments_of
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
from acereason_trainer.stage import Stopped


class TorchPolicy:
    """A causal language model with float32 master weights and AdamW.

    In bfloat16 the model is a rounded copy of the master weights: at RL's learning rates most
    updates are smaller than a bfloat16 step and would be lost.
    """

    def __init__(
        self,
        directory: Path,
        *,
        loading: ModelLoading,
        optimizer: Optimizer,
        total_steps: int | None,
        tokens_per_micro_batch: int,
        activation_checkpointing: bool = False,
        layout: Layout = "packed",
        check_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self.tokenizer = loader.load_tokenizer(directory)
        self._model = loader.load_model(directory, loading)
        self._scoring = Scoring(self._model, recompute=activation_checkpointing, layout=layout)
        self._layout = layout
        self._settings = optimizer
        self._total = total_steps
        self._budget = tokens_per_micro_batch
        self._check_stop = check_stop
        self._steps = 0
        self._room = Room()
        trained: dict[str, torch.nn.Parameter] = {
            n: p for n, p in self._model.named_parameters() if p.requires_grad
        }
        self._names, self._parameters = list(trained), list(trained.values())
        self._masters = (
            self._parameters
            if loader.DTYPES[loading.dtype] is torch.float32
            else [p.detach().to(torch.float32).clone().requires_grad_() for p in self._parameters]
        )
        first, second = optimizer.betas
        self._optimizer = torch.optim.AdamW(
            decayed_and_not(self._masters, optimizer.weight_decay),
            lr=optimizer.learning_rate,
            betas=(first, second),
        )

    @property
    def model(self) -> Any:
        """The torch module, in evaluation mode."""
        return self._model

    @property
    def steps(self) -> int:
        """Optimizer steps that its weights have taken."""
        return self._steps

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._parameters[0].device

    def step(self, batch: Batch) -> Update:
        """One optimizer step over all sequences, accumulated over micro-batches.

        A batch without a single trained token still is a step: its gradient is zero. Numbers that
        are none leave the weights as they were. Raises Stopped between micro-batches where a stop
        was asked for; the policy is then at the step before.
        """
        self.take_room()
        totals = torch.zeros(TOTALS, dtype=torch.float64)
        for part in micro_batches(batch, self._budget, self.device, layout=self._layout):
            self._stop_between_micro_batches()
            logprobs, entropy = self._scoring(*part.inputs, batch.temperature)
            loss = loss_of(part, logprobs)
            loss.backward()
            self._collect_gradients()
            totals += totals_of(part, loss, logprobs, entropy)
        rate = learning_rate(self._settings, self._steps, self._total)
        return update_of(totals, self._descend(rate), rate)

    def _stop_between_micro_batches(self) -> None:
        try:
            self._check_stop()
        except Stopped:
            self._optimizer.zero_grad(set_to_none=True)
            raise

    def _collect_gradients(self) -> None:
        """Add a micro-batch's bfloat16 gradients to the master weights' float32 ones."""
        if self._masters is self._parameters:
            return
        for master, parameter in zip(self._masters, self._parameters, strict=True):
            if parameter.grad is None:
                continue
            gradient = parameter.grad.to(torch.float32)
            master.grad = gradient if master.grad is None else master.grad.add_(gradient)
            parameter.grad = None

    def _descend(self, rate: float) -> float:
        """Clip, AdamW, round the master weights into the model; returns the gradient's norm."""
        for master in self._masters:
            if master.grad is None:
                master.grad = torch.zeros_like(master)
        norm = float(torch.nn.utils.clip_grad_norm_(self._masters, self._settings.grad_clip))
        if math.isfinite(norm):
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            self._optimizer.step()
            self._steps += 1
        self._optimizer.zero_grad(set_to_none=True)
        if self._masters is not self._parameters:
            with torch.no_grad():
                for master, parameter in zip(self._masters, self._parameters, strict=True):
                    parameter.copy_(master)
        return norm

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Every weight by its name in a checkpoint."""
        return ((name, p.detach()) for name, p in self._model.named_parameters())

    @torch.no_grad()
    def logprobs(self, sequences: Sequence[Sequence[int]]) -> list[Tensor]:
        """log p of each token after the first, at temperature 1."""
        return logprobs_of(self._scoring, sequences, self.device, self._layout)

    def make_room(self) -> None:
        """Move moments and float32 master weights to the host."""
        self._room.make(self._of_a_step())

    def take_room(self) -> None:
        """Move them back."""
        self._room.take()

    @property
    def room_bytes(self) -> int:
        """Bytes that `make_room` moves from this rank's GPU to the host; 0 before the first."""
        return self._room.bytes

    def _of_a_step(self) -> Iterator[Tensor]:
        if self._masters is not self._parameters:
            yield from self._masters
        yield from moments_of(self._optimizer)

    @property
    def state_bytes(self) -> int:
        """Bytes of the state."""
        return share_bytes(self._sizes)

    def save_state(self, directory: Path) -> list[Path]:
        """Master weights, AdamW's moments and the schedule's position, bit for bit."""
        self.take_room()
        files = write_parts(directory, self._sizes, self._parts_of)
        return [*files, write_steps(directory, self._steps)]

    def snapshot(self) -> Snapshot:
        """The same, copied into the host's memory."""
        self.take_room()
        return snapshot(self._steps, self._sizes, self._parts_of)

    @property
    def _sizes(self) -> dict[str, int]:
        return dict(zip(self._names, map(Tensor.numel, self._masters), strict=True))

    def _parts_of(self, name: str) -> Parts:
        master = self._masters[self._names.index(name)]
        moments = self._optimizer.state[master]
        if not moments:  # no step was taken yet
            moments = {FIRST: torch.zeros_like(master), SECOND: torch.zeros_like(master)}
        return {WEIGHT: master, FIRST: moments[FIRST], SECOND: moments[SECOND]}

    def load_state(self, directory: Path) -> None:
        """Go on exactly where `save_state` was called."""
        self.take_room()
        self._steps = read_steps(directory)
        parts = read_parts(directory, self._names)
        for master, parameter, (_, saved) in zip(
            self._masters, self._parameters, parts, strict=True
        ):
            with torch.no_grad():
                master.copy_(saved[WEIGHT])
                parameter.copy_(saved[WEIGHT])
            self._optimizer.state[master] = {
                "step": torch.tensor(float(self._steps)),
                FIRST: saved[FIRST].to(self.device, copy=True),  # not a map of the file
                SECOND: saved[SECOND].to(self.device, copy=True),
            }

    def export(self, directory: Path) -> None:
        """A Hugging Face directory that `from_pretrained` reads."""
        export_model(self._model, self.tokenizer, directory)


def decayed_and_not(masters: Iterable[Tensor], weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices, none for norms and biases."""
    masters = list(masters)
    return [
        {"params": [m for m in masters if m.dim() >= 2], "weight_decay": weight_decay},
        {"params": [m for m in masters if m.dim() < 2], "weight_decay": 0.0},
    ]
