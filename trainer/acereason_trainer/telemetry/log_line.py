"""What a rank says while it works, for `acereason logs` and `kubectl logs`: plain lines."""

import sys
from datetime import datetime


def say(sentence: str) -> None:
    """One line on stderr, with the time of day."""
    print(f"{datetime.now():%H:%M:%S} {sentence}", file=sys.stderr, flush=True)
