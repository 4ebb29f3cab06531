"""The tests of code problems, packed once and then known by name.

A problem's tests can be megabytes, and every response to it is checked against all of them. So the
trainer packs and digests them once for each row, and a worker that has unpacked them is told only
their digest from then on. Both sides remember what they used last, up to a number of bytes.
"""

import hashlib
import pickle
import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Tests = tuple[Mapping[str, Any], ...]
"""{input, output} each: text, or for a call the JSON of the argument list and of the result."""

PACKED_BYTES = 256 << 20
"""Packed tests that the trainer remembers."""
UNPACKED_BYTES = 64 << 20
"""Tests that each worker remembers, by their packed size."""

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


@dataclass(frozen=True)
class PackedTests:
    """Tests as they travel to a worker."""

    digest: bytes
    """Names them by their content."""
    content: bytes


def unpacked(content: bytes) -> Tests:
    """The tests in what a Packer packed."""
    tests: Tests = pickle.loads(content)
    return tests


class Packer:
    """Packs each row's tests once. Thread-safe."""

    def __init__(self, limit: int = PACKED_BYTES) -> None:
        self._lock = threading.Lock()
        self._recent: RecentlyUsed[int, tuple[object, PackedTests]] = RecentlyUsed(limit)

    def packed(self, tests: Sequence[Mapping[str, Any]]) -> PackedTests:
        """A row's tests, packed; the same list must not change between two calls."""
        # The list is kept with the answer: while it lives, no other object has its id.
        with self._lock:
            known = self._recent.get(id(tests))
            if known is None:
                only = tuple({"input": t["input"], "output": t["output"]} for t in tests)
                content = pickle.dumps(only, protocol=pickle.HIGHEST_PROTOCOL)
                digest = hashlib.blake2b(content, digest_size=16).digest()
                known = (tests, PackedTests(digest, content))
                self._recent.put(id(tests), known, len(content))
            return known[1]


class RecentlyUsed(Generic[_K, _V]):
    """What was used last, up to a number of bytes; the newest is kept whatever its size."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[_K, tuple[_V, int]] = OrderedDict()
        self._bytes = 0

    def get(self, key: _K) -> _V | None:
        """What is kept under the key."""
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key][0]

    def put(self, key: _K, value: _V, size: int) -> None:
        """Keep a value of so many bytes, under a key that is not there yet."""
        self._kept[key] = (value, size)
        self._bytes += size
        while self._bytes > self._limit and len(self._kept) > 1:
            _, (_, freed) = self._kept.popitem(last=False)
            self._bytes -= freed
