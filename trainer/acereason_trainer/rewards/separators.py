"""Where an answer comes apart: at signs that stand outside of all brackets."""

import re
from itertools import accumulate

_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!\d|,\d)")


def split(text: str, separator: str) -> list[str]:
    """Pieces between separators that stand outside of all brackets."""
    if separator not in text:
        return [text.strip()]
    found, depth, start, position = [], 0, 0, 0
    command = separator.startswith("\\")
    while position < len(text):
        if depth == 0 and text.startswith(separator, position):
            end = position + len(separator)
            if not command or not text[end : end + 1].isalpha():
                found.append(text[start:position].strip())
                position = start = end
                continue
        character = text[position]
        depth += (character in "([{") - (character in ")]}")
        position += 1
    return [*found, text[start:].strip()]


def pieces(text: str, separators: tuple[str, ...]) -> list[str]:
    """Those between any of the separators; empty ones only where there is one separator."""
    found = [text]
    for separator in separators:
        found = [p for piece in found for p in split(piece, separator)]
    return [p for p in found if p] if len(separators) > 1 else found


def members(text: str, separators: tuple[str, ...]) -> list[str]:
    """As pieces; nothing has none."""
    return pieces(text, separators) if text.strip() else []


def without_thousands(text: str) -> str:
    """1,000 becomes 1000, but in `(100,200)` the comma separates."""
    around = _separating_depths(text)
    return _THOUSANDS.sub(lambda m: m[0] if around[m.start()] else m[0].replace(",", ""), text)


def depths(text: str, opening: str, closing: str) -> list[int]:
    """Of each character: how many brackets stand open around it."""
    return list(accumulate((c in opening) - (c in closing) for c in text))


def _separating_depths(text: str) -> list[int]:
    r"""As depths, of those in which a comma separates: ( [ \{, not the { of an argument."""
    return depths(text.replace(r"\{", "((").replace(r"\}", "))"), "([", ")]")


def closes_at_end(text: str) -> bool:
    """Whether the first bracket is closed by the last character."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0:
            return position == len(text) - 1
    return False
