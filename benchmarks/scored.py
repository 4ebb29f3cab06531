"""What the trainer makes of given responses: the product's own forward pass, without a step."""

from dataclasses import replace

import torch
from acereason_trainer.policy.forward import Scoring
from acereason_trainer.policy.micro_batches import micro_batches
from acereason_trainer.policy.protocol import Batch
from torch import Tensor

TOKENS_AT_ONCE = 8192


@torch.no_grad()
def log_probs(scoring: Scoring, batch: Batch, device: torch.device) -> list[Tensor]:
    """log p of every response token under the weights of now, by sequence."""
    lengths = [len(w) for w in batch.token_weights]
    # Micro-batches order sequences as they like: each token's number goes along as its weight.
    numbers = torch.split(torch.arange(sum(lengths), dtype=torch.float32), lengths)
    found = torch.empty(sum(lengths))
    for part in micro_batches(replace(batch, token_weights=numbers), TOKENS_AT_ONCE, device):
        found[part.weights.long().cpu()] = scoring(*part.inputs, batch.temperature)[0].cpu()
    return list(torch.split(found, lengths))
