"""What came out of a run: the same form for `acereason run` and for a cluster.

    python -m tests.e2e.outcome            # runs the shortened quickstart on this machine

writes quickstart.json beside this file, which the end-to-end test compares a cluster's run with.
Two to four minutes on two cores. `madeFrom` says which file, data and code the figures are of:
where it differs, they are of another time, and the command above makes them anew.
"""

import hashlib
import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acereason_operator.api.overrides import apply_overrides
from acereason_operator.api.yaml_loader import Document, load_documents
from acereason_trainer.config.stage_file import SEMANTICS

HERE = Path(__file__).parent
RUN = HERE.parents[1] / "examples" / "quickstart.yaml"
SHORT = HERE / "short.yaml"
EXPECTED = HERE / "quickstart.json"

DATA = RUN.parent / "quickstart" / "data"
FIGURES = ("accuracy", "standardError", "problems", "samples")

Outcome = dict[str, dict[str, Any]]
"""By stage that evaluates: `sets` with its accuracies."""


@dataclass(frozen=True)
class Difference:
    """One accuracy of two runs."""

    stage: str
    task: str
    here: float
    """Accuracy of the run that is judged."""
    there: float
    """Accuracy of the run that it is compared with."""
    error: float
    """Standard error of their difference."""

    @property
    def in_errors(self) -> float:
        """How many standard errors lie between them."""
        apart = abs(self.here - self.there)
        return apart / self.error if self.error else math.inf * bool(apart)


def outcome(status: Mapping[str, Any], store: Path) -> Outcome:
    """What a complete run of a store left there."""
    found: Outcome = {}
    for stage in status["stages"]:
        artifact = stage["artifact"]
        if artifact["kind"] == "evaluation":
            results = json.loads((store / artifact["uri"] / "results.json").read_text())
            found[stage["name"]] = {
                "sets": {s["name"]: {n: s[n] for n in FIGURES} for s in results["sets"]}
            }
    return found


def document(run: Any, whole: bool = False) -> Any:
    """A run as JSON has it: the quickstart whole, or shortened as `short.yaml` says."""
    given = Document("quickstart", run)
    if whole:
        return given.data
    shortened = apply_overrides(given, [], [SHORT])
    assert not shortened.problems
    return shortened.data


def made_from() -> str:
    """A digest of all that the shortened quickstart's figures depend on: what it is told (defaults
    aside, which change no results without a new number in `SEMANTICS`), and its data."""
    (run,) = load_documents(RUN.read_text(encoding="utf-8"), RUN.name)
    spec = {name: part for name, part in document(run.data)["spec"].items() if name != "storage"}
    told = hashlib.sha256(json.dumps([spec, SEMANTICS], sort_keys=True).encode())
    for file in sorted(path for path in DATA.rglob("[!.]*") if path.is_file()):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        told.update(f"{file.relative_to(DATA)} {content}\n".encode())
    return told.hexdigest()[:32]


def differences(here: Outcome, there: Outcome) -> Sequence[Difference]:
    """Every accuracy of one run beside that of another."""
    return [
        Difference(
            stage,
            task,
            figure["accuracy"],
            other["accuracy"],
            math.hypot(figure["standardError"], other["standardError"]),
        )
        for stage, result in here.items()
        for task, figure in result.get("sets", {}).items()
        for other in [there[stage]["sets"][task]]
    ]


def main() -> None:
    """Run the shortened quickstart and write what came out."""
    store = Path("build/e2e/store")
    words = ["run", str(RUN), "--values", str(SHORT), "--store", str(store), "-o", "json"]
    done = subprocess.run(
        [sys.executable, "-m", "acereason_operator.cli.main", *words],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    status = json.loads(done.stdout.splitlines()[-1])["status"]
    made = {"madeFrom": made_from(), "stages": outcome(status, store)}
    EXPECTED.write_text(json.dumps(made, indent=2) + "\n")
    print(f"wrote {EXPECTED}")


if __name__ == "__main__":
    main()
