"""Every random draw is named, never taken from a running generator.

A draw's seed is a hash of what it is for (stage key, salt, step, prompt, sample), so that a resumed
run, another world size or another order of work draws the same numbers.
"""

import hashlib


def draw_seed(*name: str | int) -> int:
    """A 64-bit seed for the draw of this name."""
    text = "\x1f".join(str(part) for part in name)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
