"""Waiting for verdicts without turning a deaf ear to a stop."""

from collections.abc import Callable
from concurrent.futures import Future

from acereason_trainer.rewards.protocol import Grade

LOOK_EVERY = 0.5
"""Seconds between two looks at whether a stop was asked for."""


def verdict_of(future: "Future[Grade]", check_stop: Callable[[], None]) -> Grade:
    """The verdict, once it is there. Raises what the checker raised, or Stopped."""
    while True:
        check_stop()
        try:
            return future.result(timeout=LOOK_EVERY)
        except TimeoutError:
            if future.done():
                raise  # the checker's own, not ours
