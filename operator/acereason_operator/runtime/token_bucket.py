"""How fast the operator may write: a bucket of tokens that fills at a steady rate.

One bucket for all writes, so that a thousand runs that start together become a queue here and not
a flood there. Who comes first goes first: a token is taken at once, on credit where the bucket is
empty, and the wait is the time until the credit is paid.
"""

import asyncio
from dataclasses import dataclass, field


@dataclass
class TokenBucket:
    """Tokens at `rate` per second, at most `burst` of them saved up."""

    rate: float
    burst: int
    _tokens: float = field(init=False)
    _at: float | None = field(default=None, init=False)
    _spared_at: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._tokens = float(self.burst)

    def take(self, now: float) -> float:
        """Take one token; the seconds to wait before using it. `now` never goes back."""
        passed = now - self._at if self._at is not None else 0.0
        self._at = now
        self._tokens = min(self._tokens + passed * self.rate, float(self.burst)) - 1.0
        return max(-self._tokens / self.rate, 0.0)

    def spares_one(self, now: float) -> bool:
        """Whether a write that can wait may go out now: half of the burst is saved up, and such
        writes come at half of the rate and one by one, so that what cannot wait is never behind a
        crowd of them at the server either. A yes is for one write."""
        passed = now - self._at if self._at is not None else 0.0
        saved = self._tokens + passed * self.rate >= self.burst / 2
        apart = self._spared_at is None or now - self._spared_at >= 2 / self.rate
        if saved and apart:
            self._spared_at = now
        return saved and apart

    async def wait(self) -> None:
        """Return when the next write may go out."""
        seconds = self.take(asyncio.get_running_loop().time())
        if seconds > 0:
            await asyncio.sleep(seconds)
