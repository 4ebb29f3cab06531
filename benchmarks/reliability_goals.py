"""What `make e2e` and `make e2e-full` must show where nothing else goes on beside them, each as a
figure and a bound.

    python -m benchmarks.reliability_goals FILE     # benchmarks/results/reliability.json

Tests on the same cluster say that nothing is lost; how long it takes is judged here, since a busy
machine is no fault.
"""

import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Result = Mapping[str, Any]

QUIET = "nothing"
"""What happens to a run that is left alone: the others, of as many pods, are compared with it."""
START_SECONDS = 60
"""To a cluster on which pods can be made, from binaries and images built. Images that are unpacked
for the first time take as long as they are large, so then their loading is left out."""
SHORT_SECONDS = 8 * 60
"""From `kubectl apply` to the shortened quickstart's end: twice what two quiet cores need."""
FAULT_SECONDS = 45
"""What a fault may cost beyond what it imposes, and beyond a run that is left alone."""
WHOLE_SECONDS = 14 * 60
"""From `helm install` to a Complete whole quickstart."""
ERRORS = 2
"""Standard errors that the table may be off that of `acereason run`, as a whole and anywhere."""
ASKED_FOR = (
    "trainer pod killed",
    "one pod of two killed",
    "one rank of two killed with SIGKILL",
    "node drained",
    "kubelet stopped for good",
    "operator killed with SIGKILL",
    "API server away for a minute",
    "suspended and resumed",
    "volume full, then room again",
    "artifact corrupted between stages",
    "chart upgraded, rolled back, removed, installed",
)
"""Faults without which `make e2e` has not shown what it is for."""


def own_seconds(fault: Mapping[str, Any], alone: Mapping[str, Any]) -> float:
    """Seconds that a run took beyond its training, the fault's own length, and what a run that is
    left alone, of as many pods, takes beside its training."""
    beside = float(alone["seconds"] - alone["secondsTrained"])
    return float(fault["seconds"] - fault["secondsTrained"] - fault["secondsImposed"]) - beside


def goals_of(result: Result) -> list[dict[str, Any]]:
    """What was measured, what is asked for, and whether it is so."""
    return [
        {"goal": goal, "asked": f"at most {most:g}", "measured": round(got, 1), "met": got <= most}
        for goal, got, most in _figures(result)
    ]


def _figures(result: Result) -> Iterator[tuple[str, float, float]]:
    """Name, figure and bound of each goal; NaN is what was not measured."""
    loading = result.get("imagesSeconds", 0.0) if result["imagesUnpacked"] else 0.0
    which = ", its images loaded" if loading else ""
    yield (
        f"seconds to a cluster that is up{which}",
        result["clusterSeconds"] - loading,
        START_SECONDS,
    )
    if quickstart := result["quickstart"]:
        if quickstart["whole"]:
            since = quickstart["secondsSinceInstall"]
            yield "seconds from helm install to the whole quickstart's end", since, WHOLE_SECONDS
        else:
            yield "seconds of the shortened quickstart", quickstart["seconds"], SHORT_SECONDS
        for task, off in quickstart["table"].items():
            apart, error = abs(off["apart"]), off["standardError"]
            errors = apart / error if error else math.inf if apart else 0.0
            yield f"standard errors that the table is off, {task}", errors, ERRORS
            if "farthest" in off:  # results of before it was noted have none
                which = f"standard errors that its farthest evaluation is off, {task}"
                yield which, off["farthest"], ERRORS
    for fault in result["faults"]:
        if fault["fault"] != QUIET:
            what = f"seconds that a fault costs, {fault['fault']}"
            yield what, fault.get("costSeconds", math.nan), FAULT_SECONDS


def missed(result: Result) -> list[str]:
    """A sentence for each goal that is not met."""
    return [
        f"{goal['goal']}: {_shown(goal['measured'])}, asked for {goal['asked']}"
        for goal in goals_of(result)
        if not goal["met"]
    ]


def left_out(result: Result) -> list[str]:
    """Names of what the command did not measure."""
    quickstart = result["quickstart"]
    faults = {fault["fault"] for fault in result["faults"]}
    wanted = [] if quickstart.get("whole") else [name for name in ASKED_FOR if name not in faults]
    wanted += [] if quickstart else ["the quickstart"]
    return wanted


def _shown(measured: float) -> str:
    return "not measured" if math.isnan(measured) else f"{measured:g}"


def main(file: Path) -> int:
    """0 where all are met; else 1, and says which are not."""
    result = json.loads(file.read_text(encoding="utf-8"))
    sentences = [*missed(result), *(f"{name}: not measured" for name in left_out(result))]
    for sentence in sentences:
        print(f"missed: {sentence}", file=sys.stderr)
    return 1 if sentences else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])) if len(sys.argv) == 2 else __doc__)
