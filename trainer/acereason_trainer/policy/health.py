"""A step whose numbers are none is never taken, and ends the stage."""

import math

from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.policy.protocol import Update
from acereason_trainer.stage import StageFailure

NOT_A_NUMBER = "NotANumber"


def check_update(update: Update, step: int) -> None:
    """Raise a health stop when the step's loss or gradient is not a number."""
    sentence = not_a_number(update, step)
    if sentence is not None:
        raise StageFailure(ExitCode.HEALTH_STOP, NOT_A_NUMBER, sentence)


def not_a_number(update: Update, step: int) -> str | None:
    """A sentence where the step's loss or gradient is not a number.

    The policy left its weights as they were, so earlier states and the policy itself are good.
    """
    if math.isfinite(update.loss) and math.isfinite(update.grad_norm):
        return None
    return (
        f"step {step} has loss {update.loss} and gradient norm {update.grad_norm}; "
        "if it happens again, lower optimizer.learningRate"
    )
