"""What became of every row: counts that add up, and one example of each reason.

A funnel is a list of steps. Each step says how many rows came in, how many were dropped for which
reason, how many copies were added, and how many went on: in - dropped + added = out, and the next
step's `in` is this one's `out`.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from acereason_trainer.dataset import Row

_EXCERPT = 300


@dataclass
class Step:
    """One step of curation."""

    name: str
    rows_in: int = 0
    rows_out: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """Rows by reason."""
    examples: dict[str, dict[str, str]] = field(default_factory=dict)
    """First row dropped for each reason: id, origin, beginning of its problem, detail."""

    def drop(self, row: Row, reason: str, detail: str = "") -> None:
        """Count a row that does not go on."""
        self.dropped[reason] += 1
        if reason not in self.examples:
            example = {"id": row.id, "origin": row.origin, "problem": row.problem[:_EXCERPT]}
            self.examples[reason] = example | ({"detail": detail} if detail else {})

    @property
    def added(self) -> int:
        """Copies that resampling made."""
        return self.rows_out + self.dropped.total() - self.rows_in

    def dump(self) -> dict[str, Any]:
        """As report.json has it."""
        return {
            "name": self.name,
            "in": self.rows_in,
            "dropped": dict(sorted(self.dropped.items(), key=lambda kv: -kv[1])),
            "added": self.added,
            "out": self.rows_out,
            "examples": self.examples,
        }


@dataclass
class Funnel:
    """All steps, in order."""

    steps: list[Step] = field(default_factory=list)

    def step(self, name: str) -> Step:
        """Begin the next step."""
        self.steps.append(Step(name))
        return self.steps[-1]

    @property
    def rows_in(self) -> int:
        """Rows of the source."""
        return self.steps[0].rows_in if self.steps else 0

    @property
    def rows_out(self) -> int:
        """Rows that are left."""
        return self.steps[-1].rows_out if self.steps else 0

    def dump(self) -> dict[str, Any]:
        """As report.json has it."""
        return {
            "in": self.rows_in,
            "out": self.rows_out,
            "steps": [step.dump() for step in self.steps],
        }

    def sentence(self) -> str:
        """Counts for a message: `12 rows in; rules dropped 7 (proofs 5, figures 2)`."""
        parts = [f"{self.rows_in:,} rows in"]
        for step in self.steps:
            if step.dropped:
                reasons = ", ".join(f"{r} {n:,}" for r, n in step.dropped.most_common())
                parts.append(f"{step.name} dropped {step.dropped.total():,} ({reasons})")
        return "; ".join(parts)
