"""What a step comes to by the sums over its micro-batches."""

import torch
from acereason_trainer.policy.loss import TOTALS, update_of


def test_sums_over_tokens_become_means_and_the_loss_stays_a_sum() -> None:
    totals = torch.tensor([3.0, 8.0, 2.0, 1.0, 4.0], dtype=torch.float64)
    update = update_of(totals, norm=0.5, rate=1e-3)
    assert (update.loss, update.grad_norm, update.learning_rate) == (3.0, 0.5, 1e-3)
    assert (update.entropy, update.mismatch_kl, update.mismatch_share) == (2.0, 0.5, 0.25)
    assert update.tokens == 4


def test_a_step_without_a_trained_token_has_means_of_zero() -> None:
    update = update_of(torch.zeros(TOTALS, dtype=torch.float64), norm=0.0, rate=1e-3)
    assert (update.entropy, update.mismatch_kl, update.mismatch_share) == (0.0, 0.0, 0.0)
    assert update.tokens == 0
