"""Batches and an optimizer that policies of several kinds are compared on."""

import torch
from acereason_trainer.policy.protocol import Batch, Policy

STEPS = 20
FEW = 5
"""Steps that show whether an option changes anything."""
OPTIMIZER = {"learning_rate": 1e-3, "grad_clip": 0.5, "final_fraction": 0.1}
"""Clipped at every step: what is clipped must be the whole gradient's norm."""

LENGTH, MANY = 16, 400
"""Tokens and number of sequences that are a micro-batch each. In bfloat16 a sum of numbers stands
still at 512 times the power of two below them: 400 come to as much as 13 % less, by their norm."""


def a_batch(n: int = 6, seed: int = 0, rows: list[list[int]] | None = None) -> Batch:
    """`n` sequences of 8 to 29 tokens, every other one to be made less likely."""
    generator = torch.Generator().manual_seed(seed)
    lengths = [int(x) for x in torch.randint(8, 30, (n,), generator=generator)]
    sequences = [torch.randint(3, 90, (k,), generator=generator).tolist() for k in lengths]
    return Batch(
        sequences=sequences,
        prompt_lengths=[4] * n,
        token_weights=[
            torch.full((k - 4,), (-1.0) ** i / sum(lengths)) for i, k in enumerate(lengths)
        ],
        temperature=0.8,
        rows=rows,
    )


def batches() -> list[Batch]:
    """One for each step, of 1 to 9 sequences: also fewer than there are ranks."""
    return [a_batch(n=1 + seed * 5 % 9, seed=seed) for seed in range(STEPS)]


def many_small_gradients(policy: Policy, ranks: int = 1) -> float:
    """The gradient's norm after a step of so many equal sequences for each rank, each a micro-batch
    of its own where `LENGTH` tokens are one. It is the same for any number of ranks."""
    many = MANY * ranks
    sequence = [5 + (7 * n) % 80 for n in range(LENGTH)]
    weights = torch.full((LENGTH - 1,), 1 / (LENGTH * many))
    return policy.step(Batch([sequence] * many, [1] * many, [weights] * many)).grad_norm
