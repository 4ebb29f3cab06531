"""Verdicts as metrics: the share of responses that got each, and what the checker goes without."""

from collections import Counter
from collections.abc import Iterable, Sequence

from acereason_trainer.rewards.protocol import Grade, Verdict


def verdict_shares(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """`<verdict>_share` for every verdict; they add up to 1."""
    counts = Counter(verdicts)
    return {f"{v}_share": counts[v] / max(len(verdicts), 1) for v in Verdict}


def walls_missing(grades: Iterable[Grade]) -> dict[str, float]:
    """How many walls around programs are missing where one of the grades was given."""
    return {"walls_missing": float(max((len(g.missing_walls) for g in grades), default=0))}
