"""Which problems are for evaluation: decided by the problem itself, by nothing else."""

import hashlib


def is_held_out(key: str, share: float) -> bool:
    """Whether the problem with this canonical key is for evaluation only.

    A hash of the key decides, so no seed, size or order of generation moves a problem across the
    split. share: the part of all keys that is held out, 0 to 1.
    """
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64
