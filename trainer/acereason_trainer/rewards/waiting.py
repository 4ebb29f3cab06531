"""Waiting for verdicts without turning a deaf ear to a stop, and asking for most of them."""

from collections.abc import Callable
from concurrent.futures import Future

from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.rewards.protocol import Grade
from acereason_trainer.stage import StageFailure

LOOK_EVERY = 0.5
"""Seconds between two looks at whether a stop was asked for."""
MOST_UNCHECKED = 0.5
"""Share of responses without a verdict above which nothing is learned from them, or measured."""


def verdict_of(future: "Future[Grade]", check_stop: Callable[[], None]) -> Grade:
    """The verdict, once it is there. Raises what the checker raised, or Stopped."""
    while True:
        check_stop()
        try:
            return future.result(timeout=LOOK_EVERY)
        except TimeoutError:
            if future.done():
                raise  # the checker's own, not ours


def require_verdicts(unchecked: int, of: int) -> None:
    """Raise a temporary failure where most responses could not be checked: what is learned or
    measured from the few others would not be what was asked for. of: a step's, or a full batch's.
    """
    if unchecked > MOST_UNCHECKED * of:
        raise StageFailure(
            ExitCode.TEMPORARY,
            "Unchecked",
            f"{unchecked:,} responses of {of:,} could not be checked; the log says what keeps the "
            "verifier from working",
        )
