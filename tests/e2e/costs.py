"""What faults cost: printed at the end, and written for docs/reliability.md where asked."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import reliability_table
from benchmarks.machine import machine
from tests.e2e.trial import Cost


@dataclass
class Costs:
    """Costs by fault, in the order in which they were noted."""

    noted: dict[str, Cost] = field(default_factory=dict)

    def note(self, fault: str, cost: Cost) -> Cost:
        """Keep a cost, and give it back."""
        self.noted[fault] = cost
        return cost

    def result(self) -> dict[str, Any]:
        """As JSON has it."""
        faults = [{"fault": fault, **cost.dump()} for fault, cost in self.noted.items()]
        return {"machine": machine(), "faults": faults}

    def table(self) -> str:
        """For a person to read."""
        return reliability_table.table(self.result())

    def write(self, file: Path) -> None:
        """Write the result."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(self.result(), indent=1) + "\n", encoding="utf-8")
