"""One process, plain torch: forward, token-weighted loss, AdamW, exact save and load."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from acereason_trainer.config.common import ModelLoading
from acereason_trainer.config.sft import Optimizer
from acereason_trainer.policy import loading as loader
from acereason_trainer.policy.micro_batches import MicroBatch, micro_batches
from acereason_trainer.policy.protocol import Batch, Update
from acereason_trainer.policy.schedule import learning_rate
from acereason_trainer.stage import Stopped

STATE_FILE = "policy.pt"
LOGITS_AT_ONCE = 2**26
"""Tokens x vocabulary of one chunk of the head: 256 MiB for each float32 copy."""


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
        check_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self.tokenizer = loader.load_tokenizer(directory)
        self._model = loader.load_model(directory, loading)
        self._settings = optimizer
        self._total = total_steps
        self._budget = tokens_per_micro_batch
        self._check_stop = check_stop
        self._steps = 0
        self._parameters = [p for p in self._model.parameters() if p.requires_grad]
        self._masters = (
            self._parameters
            if loader.DTYPES[loading.dtype] is torch.float32
            else [p.detach().to(torch.float32).clone().requires_grad_() for p in self._parameters]
        )
        self._optimizer = torch.optim.AdamW(
            _decayed_and_not(self._masters, optimizer.weight_decay),
            lr=optimizer.learning_rate,
            betas=optimizer.betas,
        )

    @property
    def model(self) -> Any:
        """The torch module, in evaluation mode."""
        return self._model

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
        totals = torch.zeros(3, dtype=torch.float64)
        tokens = 0
        for part in micro_batches(batch, self._budget, self.device):
            self._stop_between_micro_batches()
            logprobs, entropy = self._forward(part, batch.temperature)
            loss = -(part.weights * logprobs).sum()
            loss.backward()
            self._collect_gradients()
            totals += torch.stack([loss.detach(), entropy.sum(), _mismatch(part, logprobs)]).cpu()
            tokens += len(part.targets)
        rate = learning_rate(self._settings, self._steps, self._total)
        norm = self._descend(rate)
        mean = max(tokens, 1)
        return Update(
            loss=float(totals[0]),
            grad_norm=norm,
            learning_rate=rate,
            entropy=float(totals[1]) / mean,
            mismatch_kl=float(totals[2]) / mean,
            tokens=tokens,
        )

    def _forward(self, part: MicroBatch, temperature: float) -> tuple[Tensor, Tensor]:
        """log p [n] and full-vocabulary entropy [n] (no gradient) of the trained tokens.

        Where their logits would be too many, they are made chunk by chunk and made again in the
        backward pass: 32K tokens of a vocabulary of 152K are 20 GB for each copy.
        """
        hidden = self._model.base_model(
            input_ids=part.tokens,
            position_ids=part.positions,
            attention_mask=part.mask,
            use_cache=False,
        ).last_hidden_state[part.rows, part.columns]
        head = self._model.get_output_embeddings()
        size = max(1, LOGITS_AT_ONCE // head.weight.shape[0])
        if len(hidden) <= size:
            return token_logprobs(head, hidden, part.targets, temperature)
        chunks = [
            checkpoint(token_logprobs, head, h, t, temperature, use_reentrant=False)
            for h, t in zip(hidden.split(size), part.targets.split(size), strict=True)
        ]
        return torch.cat([c[0] for c in chunks]), torch.cat([c[1] for c in chunks])

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

    def save_state(self, directory: Path) -> None:
        """Master weights, AdamW's moments and the schedule's position, bit for bit."""
        torch.save(
            {
                "weights": [m.detach() for m in self._masters],
                "optimizer": self._optimizer.state_dict(),
                "steps": self._steps,
            },
            directory / STATE_FILE,
        )

    def load_state(self, directory: Path) -> None:
        """Go on exactly where `save_state` was called."""
        state = torch.load(directory / STATE_FILE, map_location=self.device, weights_only=True)
        with torch.no_grad():
            for master, parameter, saved in zip(
                self._masters, self._parameters, state["weights"], strict=True
            ):
                master.copy_(saved)
                parameter.copy_(saved)
        self._optimizer.load_state_dict(state["optimizer"])
        self._steps = state["steps"]

    def export(self, directory: Path) -> None:
        """A Hugging Face directory that `from_pretrained` reads."""
        self._model.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)


def token_logprobs(
    head: Any, hidden: Tensor, targets: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """log p [n] of targets [n] and full-vocabulary entropy [n] (no gradient), at a temperature.

    hidden: [n, H], head: H to V. The softmax is float32.
    """
    log_p = torch.log_softmax(head(hidden).float() / temperature, dim=-1)
    with torch.no_grad():
        entropy = -(log_p.exp() * log_p).sum(-1)
    return log_p.gather(1, targets[:, None])[:, 0], entropy


def _mismatch(part: MicroBatch, logprobs: Tensor) -> Tensor:
    """Sum over tokens of r - 1 - log r with r = p_trainer / p_sampler (never negative)."""
    if part.sampler_logprobs is None:
        return logprobs.new_zeros(())
    log_ratio = (logprobs.detach() - part.sampler_logprobs).nan_to_num(0.0)
    return (torch.expm1(log_ratio) - log_ratio).sum()


def _decayed_and_not(masters: Iterable[Tensor], weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices, none for norms and biases."""
    masters = list(masters)
    return [
        {"params": [m for m in masters if m.dim() >= 2], "weight_decay": weight_decay},
        {"params": [m for m in masters if m.dim() < 2], "weight_decay": 0.0},
    ]
