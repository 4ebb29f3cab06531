"""The tests that trainers uploaded, known by the digest of their content."""

import hashlib

from pydantic import ValidationError

from acereason_trainer.rewards.problem_tests import RecentlyUsed
from acereason_trainer.rewards.wire import check_tests


class BadTests(ValueError):
    """What was uploaded is not what it says; the text says why."""


class TestSets:
    """As many as fit into a number of bytes; the one used longest ago is forgotten first."""

    __test__ = False  # for pytest, which takes the name for one of its own

    def __init__(self, limit: int) -> None:
        self._known: RecentlyUsed[bytes, bytes] = RecentlyUsed(limit)

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return self._known.bytes

    def get(self, digest: bytes) -> bytes | None:
        """The packed tests, unless they are not known (any more)."""
        return self._known.get(digest)

    def put(self, digest: bytes, content: bytes) -> None:
        """Keep what `checked` let through."""
        if self._known.get(digest) is None:
            self._known.put(digest, content, len(content))


def checked(digest: bytes, content: bytes) -> None:
    """Raise BadTests unless the content has this digest and is a list of tests."""
    actual = hashlib.blake2b(content, digest_size=16).hexdigest()
    if actual != digest.hex():
        raise BadTests(
            f"the content's digest is {actual}, not {digest.hex()}; it was changed or cut on its "
            "way: send it again"
        )
    try:
        check_tests(content)
    except ValidationError as e:
        first = e.errors()[0]
        raise BadTests(
            "the content is no list of tests, each [stdin, expected, call or null, seconds or "
            f"null]: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from e
