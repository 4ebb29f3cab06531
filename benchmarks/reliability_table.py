"""What faults on a real cluster cost (`make e2e`), as Markdown for docs/reliability.md."""

from collections.abc import Mapping
from typing import Any

Result = Mapping[str, Any]


def table(result: Result) -> str:
    """A row for each fault."""
    head = ["what happened", "seconds to Complete", "attempts", "user retries",
            "infrastructure retries", "steps done again"]  # fmt: skip
    rows = [
        [
            fault["fault"],
            f"{fault['seconds']:.0f}",
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
    return [table(result)]
