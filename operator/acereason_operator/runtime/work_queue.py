"""Which runs are to be looked at, and when: the one home of concurrency and of retries.

A key is in the queue once, however often it is added, and is never handed to two workers at a
time: what is added while a worker has it is handed out again after that. A key may also be due
later; of two times the earlier one counts, and being handed out makes both void, since whoever
looks at a run then says anew when to look again. Time is the event loop's, so that a test runs a
week of it in a second.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Backoff:
    """The wait after a failure: doubles with each one of the same key, up to a limit.

    Jitter keeps keys that failed together (a server that was away) from coming back together.
    """

    first: float = 0.5
    """Seconds after the first failure."""
    longest: float = 120.0
    """Doubling ends here: a server that was away for an hour is found back within two minutes."""
    draw: Callable[[], float] = random.random

    def after(self, failures: int) -> float:
        """Seconds to wait after the `failures`-th failure in a row: 0.5 to 1 times the doubled."""
        doubled = self.first * 2.0 ** min(failures - 1, 32)
        return min(doubled, self.longest) * (0.5 + self.draw() / 2)


@dataclass
class WorkQueue(Generic[Key]):
    """Keys that wait for a worker. All methods belong to one event loop."""

    backoff: Backoff = field(default_factory=Backoff)
    waited: Callable[[float], object] = lambda seconds: None
    """Told how many seconds each key waited for a worker."""
    _ready: "asyncio.Queue[Key | None]" = field(default_factory=asyncio.Queue)
    _since: dict[Key, float] = field(default_factory=dict)
    _working: set[Key] = field(default_factory=set)
    _again: set[Key] = field(default_factory=set)
    _later: dict[Key, asyncio.TimerHandle] = field(default_factory=dict)
    _failures: Counter[Key] = field(default_factory=Counter)
    _not_before: dict[Key, float] = field(default_factory=dict)
    """Until when a server wants to be left alone with a key."""
    _resting: bool = False
    """Whether keys that are added are forgotten."""
    _closed: bool = False

    def __len__(self) -> int:
        """Keys that wait for a worker now."""
        return len(self._since)

    @property
    def working(self) -> int:
        """Keys that workers have now."""
        return len(self._working)

    @property
    def retrying(self) -> int:
        """Keys whose last work failed."""
        return len(self._failures)

    def add(self, key: Key) -> None:
        """Have a key looked at as soon as a worker is free and a server that asked for patience had
        it."""
        if self._resting or key in self._since:
            return
        if key in self._working:
            self._again.add(key)
            return
        now = asyncio.get_running_loop().time()
        if (rest := self._not_before.get(key, now) - now) > 0:
            self.add_after(key, rest)
            return
        self._not_before.pop(key, None)
        self._since[key] = now
        self._ready.put_nowait(key)

    def add_after(self, key: Key, seconds: float) -> None:
        """Have a key looked at in so many seconds, if not before."""
        if seconds <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        when, earlier = loop.time() + seconds, self._later.get(key)
        if self._resting or (earlier is not None and earlier.when() <= when):
            return
        if earlier is not None:
            earlier.cancel()
        self._later[key] = loop.call_at(when, self._due, key)

    async def take(self) -> Key | None:
        """The key that waited longest, for one worker alone until `done`; None once closed."""
        key = await self._ready.get()
        if key is None:
            self._ready.put_nowait(None)
            return None
        self.waited(asyncio.get_running_loop().time() - self._since.pop(key))
        self._working.add(key)
        if key in self._later:
            self._later.pop(key).cancel()
        return key

    def done(self, key: Key) -> None:
        """A worker is through with a key and all is well."""
        self._failures.pop(key, None)
        self._give_back(key)

    def failures(self, key: Key) -> int:
        """How often in a row the work on a key has failed."""
        return self._failures[key]

    def failed(self, key: Key, at_least: float = 0.0) -> None:
        """A worker could not do its work: the key comes back after its backoff, or at once where it
        was added meanwhile; but not before the `at_least` seconds that a server asked for."""
        if at_least > 0:
            self._not_before[key] = asyncio.get_running_loop().time() + at_least
        if self._resting:
            self._working.discard(key)
            return
        self._failures[key] += 1
        wait = max(self.backoff.after(self._failures[key]), at_least)
        self._give_back(key)
        self.add_after(key, wait)

    def rest(self) -> None:
        """Forget all keys, and those that are added until `go_on`; `done` and `failed` stay
        possible. A closed queue rests already."""
        if self._closed:
            return
        self._resting = True
        for timer in self._later.values():
            timer.cancel()
        self._later.clear()
        self._since.clear()
        self._again.clear()
        self._failures.clear()
        while not self._ready.empty():
            self._ready.get_nowait()

    def go_on(self) -> None:
        """Take keys again after a rest; not once closed."""
        self._resting = self._closed

    def close(self) -> None:
        """Rest for good, and let the workers end."""
        self.rest()
        self._closed = True
        self._ready.put_nowait(None)

    def _give_back(self, key: Key) -> None:
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def _due(self, key: Key) -> None:
        del self._later[key]
        self.add(key)
