"""What came out of a run: the same form for `acereason run` and for a cluster.

    python -m tests.e2e.outcome            # runs the shortened quickstart on this machine

writes quickstart.json beside this file, which the end-to-end test compares a cluster's run with.
Two to four minutes on two cores. A key says which settings and which code a figure is of: where
keys differ, the file is of another time, and the command above makes it anew.
"""

import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RUN = HERE.parents[1] / "examples" / "quickstart.yaml"
SHORT = HERE / "short.yaml"
EXPECTED = HERE / "quickstart.json"

Outcome = dict[str, dict[str, Any]]
"""By stage: its `key`, its artifact's `digest`, and `sets` with the accuracy of an evaluation."""


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
        found[stage["name"]] = {"key": stage["key"], "digest": artifact["digest"]}
        if artifact["kind"] == "evaluation":
            results = json.loads((store / artifact["uri"] / "results.json").read_text())
            found[stage["name"]]["sets"] = {
                s["name"]: {n: s[n] for n in ("accuracy", "standardError", "problems", "samples")}
                for s in results["sets"]
            }
    return found


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
    EXPECTED.write_text(json.dumps(outcome(status, store), indent=2) + "\n")
    print(f"wrote {EXPECTED}")


if __name__ == "__main__":
    main()
