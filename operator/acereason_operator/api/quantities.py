"""Amounts as Kubernetes writes them: `500m` CPUs, `16Gi` bytes, or a whole number."""

import re
from decimal import Decimal

from acereason_trainer.config.forms import EXPLANATIONS, QUANTITY

_SUFFIXES = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{suffix: Decimal(1000) ** n for n, suffix in enumerate("kMGTPE", start=1)},
    **{f"{suffix}i": Decimal(1024) ** n for n, suffix in enumerate("KMGTPE", start=1)},
}


def amount(quantity: str | int) -> Decimal:
    """Value of a quantity: `500m` is 0.5, `2Ki` is 2048.

    Raises ValueError, as a sentence, for anything that is not a quantity of zero or more.
    """
    text = str(quantity)
    if isinstance(quantity, bool) or not re.fullmatch(QUANTITY, text):
        raise ValueError(f"{quantity!r} is not an amount; {EXPLANATIONS[QUANTITY]}")
    digits = text.rstrip("mkMGTPEKi")
    return Decimal(digits) * _SUFFIXES[text[len(digits) :]]


def cpu_count(quantity: str | int) -> float:
    """CPUs that a `cpu` request asks for: `500m` is 0.5, `2` is 2.0.

    Raises ValueError, as a sentence, where the request is not an amount above zero.
    """
    cpus = float(amount(quantity))
    if cpus <= 0:
        raise ValueError(f"{quantity} CPUs cannot run anything; ask for more, as in 1 or 500m")
    return cpus
