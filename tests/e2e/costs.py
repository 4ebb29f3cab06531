"""What was measured on the cluster: printed at the end, and written for docs/reliability.md where
asked."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import reliability_table
from benchmarks.machine import machine
from benchmarks.reliability_goals import QUIET, own_seconds
from tests.e2e.trial import Cost


@dataclass
class Costs:
    """Costs of faults, in the order in which they were noted, and what else took its time."""

    images_seconds: float
    """In which images were brought from buildah's store."""
    start_seconds: float
    """From there to pods that could be made."""
    images_unpacked: int
    """How many of the images were new to the nodes, at least in a layer."""
    noted: list[tuple[str, Cost]] = field(default_factory=list)
    quickstart: dict[str, Any] = field(default_factory=dict)

    def note(self, fault: str, cost: Cost) -> Cost:
        """Keep a cost, and give it back."""
        self.noted.append((fault, cost))
        return cost

    def note_quickstart(self, whole: bool, seconds: float, since_install: float) -> None:
        """Keep how long the quickstart took, from `kubectl apply` and from `helm install`."""
        took = {"seconds": round(seconds, 1), "secondsSinceInstall": round(since_install, 1)}
        self.quickstart = {"whole": whole, **took, "table": {}}

    def note_table(self, task: str, apart: float, error: float, farthest: float) -> None:
        """Keep how far its accuracy is from that of `acereason run`, the standard error, and how
        many of its own the evaluation is off that is the farthest."""
        off = {"apart": apart, "standardError": error, "farthest": round(farthest, 2)}
        self.quickstart["table"][task] = off

    def result(self) -> dict[str, Any]:
        """As JSON has it. What a fault cost is left out where no quiet run was measured."""
        faults = [{"fault": fault, **cost.dump()} for fault, cost in self.noted]
        quiet = {fault["pods"]: fault for fault in faults if fault["fault"] == QUIET}
        for fault in faults:
            if alone := quiet.get(fault["pods"]):
                fault["costSeconds"] = round(own_seconds(fault, alone), 1)
        return {
            "machine": machine(),
            "clusterSeconds": round(self.images_seconds + self.start_seconds, 1),
            "imagesSeconds": round(self.images_seconds, 1),
            "imagesUnpacked": self.images_unpacked,
            "quickstart": self.quickstart,
            "faults": faults,
        }

    def told(self) -> str:
        """For a person to read."""
        return "\n".join(reliability_table.told(self.result()))

    def write(self, file: Path) -> None:
        """Write the result."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(self.result(), indent=1) + "\n", encoding="utf-8")
