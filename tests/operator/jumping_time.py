"""An event loop whose time jumps to the next thing that is due: a week of waiting takes a moment.

The loop's clock moves only where it would have slept. Nothing may wait for real input or output.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

Result = TypeVar("Result")

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


class _Selector(selectors.SelectSelector):
    """Instead of waiting, tells how long it would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise AssertionError("nothing is due: the test would wait for ever")
        self.passed += max(timeout, 0.0)
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self) -> None:
        self._jumping = _Selector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._jumping.passed


def in_jumping_time(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end in a loop whose time jumps."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(coroutine)


def clock() -> datetime:
    """The time of day by the running loop, from noon on."""
    return NOON + timedelta(seconds=asyncio.get_running_loop().time())
