"""What faults and the quickstart cost on a real cluster (`make e2e`, `make e2e-full`), as Markdown
for docs/reliability.md."""

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.reliability_goals import goals_of, left_out, missed

Result = Mapping[str, Any]


def table(result: Result) -> str:
    """A row for each fault, and for the runs that were left alone."""
    head = ["what happened", "pods of a stage", "seconds to Complete", "of them the fault's cost",
            "attempts", "user retries", "infrastructure retries", "steps done again"]  # fmt: skip
    rows = [
        [
            fault["fault"],
            str(fault["pods"]),
            f"{fault['seconds']:.0f}",
            f"{fault['costSeconds']:.0f}" if "costSeconds" in fault else "",
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
    sentences = [table(result)] if result["faults"] else []
    sentences.append(_of_the_cluster(result))
    sentences += _of_the_quickstart(result["quickstart"])
    goals, not_met = goals_of(result), missed(result)
    kept = f"All {len(goals)} goals that were judged are met."
    sentences.append(f"Missed of {len(goals)} goals: {'; '.join(not_met)}." if not_met else kept)
    if left := left_out(result):
        sentences.append(f"Not tried of what is asked for: {', '.join(left)}.")
    return sentences


def _of_the_cluster(result: Result) -> str:
    """Results of before loading was measured by itself have no `imagesSeconds`."""
    up = f"The cluster was up after {result['clusterSeconds']:.0f} s"
    if not result["imagesUnpacked"]:
        return f"{up}. Its 3 images were there in every layer."
    spent = f"{result['imagesSeconds']:.0f} s of it" if "imagesSeconds" in result else "part of it"
    return (
        f"{up}. Of its 3 images {result['imagesUnpacked']} had layers that were not there yet: "
        f"{spent} went into loading them."
    )


def _of_the_quickstart(quickstart: Mapping[str, Any]) -> Iterator[str]:
    if quickstart:
        which = "whole" if quickstart["whole"] else "shortened"
        yield (
            f"The {which} quickstart took {quickstart['seconds']:.0f} s from `kubectl apply` and "
            f"{quickstart['secondsSinceInstall']:.0f} from `helm install`."
        )
        for task, off in quickstart["table"].items():
            yield (
                f"Its accuracy on {task} is {100 * off['apart']:+.1f} ± "
                f"{100 * off['standardError']:.1f} percent off that of `acereason run` on the same "
                "machine."
            )
