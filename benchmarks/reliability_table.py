"""What faults on a real cluster cost (`make e2e`), as Markdown for docs/reliability.md."""

from collections.abc import Mapping
from typing import Any

from benchmarks.reliability_goals import goals_of, missed

Result = Mapping[str, Any]


def table(result: Result) -> str:
    """A row for each fault. The first one is the run that was left alone."""
    head = ["what happened", "seconds to Complete", "of them the fault's cost", "attempts",
            "user retries", "infrastructure retries", "steps done again"]  # fmt: skip
    rows = [
        [
            fault["fault"],
            f"{fault['seconds']:.0f}",
            f"{fault['costSeconds']:.0f}",
            ", ".join(f"{stage} {n}" for stage, n in fault["attempts"].items()),
            str(fault["userRetries"]),
            str(fault["infrastructureRetries"]),
            str(fault["stepsRepeated"]),
        ]
        for fault in result["faults"]
    ]
    return "\n".join("| " + " | ".join(r) + " |" for r in (head, ["---"] * len(head), *rows))


def told(result: Result) -> list[str]:
    """The page's block."""
    sentences = [table(result), f"The cluster was up after {result['clusterSeconds']:.0f} s."]
    if quickstart := result["quickstart"]:
        which = "whole" if quickstart["whole"] else "shortened"
        sentences.append(
            f"The {which} quickstart took {quickstart['seconds']:.0f} s from `kubectl apply` and "
            f"{quickstart['secondsSinceInstall']:.0f} from `helm install`."
        )
    goals, not_met = goals_of(result), missed(result)
    kept = f"All {len(goals)} goals that `make e2e` judges are met."
    sentences.append(f"Missed of {len(goals)} goals: {'; '.join(not_met)}." if not_met else kept)
    return sentences
