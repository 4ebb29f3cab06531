"""What came out of a run: the same form for `acereason run` and for a cluster.

What a cluster's run is compared with is made by `acereason run` on the same machine: another
processor adds floats up in another way, draws other samples with them, and comes to another model.
"""

import hashlib
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acereason_operator.api.load import read_run
from acereason_operator.api.overrides import apply_overrides
from acereason_operator.api.yaml_loader import Document, load_documents
from acereason_trainer.config.stage_file import SEMANTICS, SEMANTICS_OF_PARTS

from benchmarks.machine import machine
from tests.controlplane.cache import cache, locked

SHORT = Path(__file__).with_name("short.yaml")
RUN = Path(__file__).parents[2] / "examples" / "quickstart.yaml"

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
        return apart / self.error if self.error else math.inf if apart else 0.0


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


def expected(whole: bool) -> Outcome:
    """What `acereason run` comes to on this machine.

    Costs 3 minutes on two quiet cores, 8 for the whole quickstart; kept in the tests' cache until
    something changes that it depends on.
    """
    file = cache() / f"quickstart-{_made_from(whole)}.json"
    with locked(file.with_suffix(".lock")):
        if not file.exists():
            unfinished = file.with_suffix(".unfinished")
            unfinished.write_text(json.dumps(_of_this_machine(whole), indent=2) + "\n")
            unfinished.rename(file)
        found: Outcome = json.loads(file.read_text())
    return found


def _of_this_machine(whole: bool) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="quickstart-") as store:
        words = ["run", str(RUN), "--store", store, "-o", "json"]
        words += [] if whole else ["--values", str(SHORT)]
        done = subprocess.run(
            [sys.executable, "-m", "acereason_operator.cli.main", *words],
            stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        return outcome(json.loads(done.stdout.splitlines()[-1])["status"], Path(store))


def _made_from(whole: bool) -> str:
    """A digest of all that its figures depend on: what it is told, its data, and what computes.

    Told with all defaults: some change rounding alone, and with it what is drawn.
    """
    (run,) = load_documents(RUN.read_text(encoding="utf-8"), RUN.name)
    filled = read_run(Document(RUN.name, document(run.data, whole))).run
    assert filled is not None
    spec = filled.spec.model_dump(mode="json", exclude={"storage"})
    here = machine()
    others = {name: told for name, told in here["versions"].items() if name != "acereason"}
    computes = [here["processor"], here["cores"], others]
    depends = [spec, SEMANTICS, SEMANTICS_OF_PARTS, computes]
    digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode())
    for file in sorted(path for path in DATA.rglob("[!.]*") if path.is_file()):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.relative_to(DATA)} {content}\n".encode())
    return digest.hexdigest()[:32]


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
