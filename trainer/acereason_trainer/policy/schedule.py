"""Learning rate as a function of the step."""

import math

from acereason_trainer.config.sft import Optimizer


def learning_rate(settings: Optimizer, step: int, total: int | None) -> float:
    """The rate of optimizer step `step` (from 0).

    Linear warm-up over `warmup_steps`, then a cosine from the peak to `final_fraction` of it at
    step `total`; constant where the total is not known or the fraction is 1.
    """
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    if total is None or settings.final_fraction == 1.0:
        return settings.learning_rate
    span = max(1, total - settings.warmup_steps)
    done = min(1.0, (step - settings.warmup_steps) / span)
    cosine = 0.5 * (1.0 + math.cos(math.pi * done))
    return settings.learning_rate * (
        settings.final_fraction + (1.0 - settings.final_fraction) * cosine
    )
