"""The same problem twice teaches twice what it should: only its first row stays."""

import hashlib
import re
import unicodedata
from collections.abc import Callable
from typing import Literal

from acereason_trainer.dataset import Row

Mode = Literal["exact", "normalized"]

# Operators are words: without them "3 + 4" and "3 - 4" would be one problem. A hyphen between two
# words of letters is punctuation. A factorial stays with its number, letter or bracket: alone it
# would be an exclamation mark to whoever reads the result again.
_WORDS = re.compile(
    r"[^\W_]*[0-9]!|\b[a-z]!|\)!|[^\W_]+"
    r"|(?<![a-z]{2})-|-(?![a-z]{2})|[+*/%^<>=|&~√\u2212\u00d7÷·≤≥≠±∑∏∫]"
)


def normalized(text: str) -> str:
    """The words, numbers and operators of a text: case, punctuation, spaces, widths are gone."""
    folded = unicodedata.normalize("NFKC", text).casefold() if not text.isascii() else text.lower()
    return " ".join(_WORDS.findall(folded))


class Duplicates:
    """Remembers what was seen: 16 bytes of hash and the first row's origin for each problem."""

    def __init__(self, mode: Mode, *, per_response: bool) -> None:
        self.mode = mode
        self._form: Callable[[str], str] = normalized if mode == "normalized" else str
        self._per_response = per_response
        self._seen: dict[bytes, str] = {}

    def repeats(self, row: Row) -> str | None:
        """Origin of the earlier row that this one repeats; None for the first of its kind.

        With `per_response`, rows of one problem with different responses are different.
        """
        parts = [row.problem]
        if self._per_response:
            parts.append(str(row.data.get("response", "")))
        key = hashlib.blake2b(digest_size=16)
        for part in parts:
            key.update(self._form(part).encode("utf-8", "surrogatepass") + b"\x00")
        earlier = self._seen.get(key.digest())
        if earlier is None:
            self._seen[key.digest()] = row.origin
        return earlier
