"""Durations as Kubernetes writes them: Go's `1h30m`, `90s`, `500ms`."""

import re

from acereason_trainer.config.forms import DURATION, EXPLANATIONS

_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(duration: str) -> float:
    """Length of a duration in seconds: `1h30m` is 5400.

    Raises ValueError, as a sentence, for anything that is not a duration.
    """
    if not re.fullmatch(DURATION, duration):
        raise ValueError(f"{duration!r} is not a duration; {EXPLANATIONS[DURATION]}")
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(duration))
