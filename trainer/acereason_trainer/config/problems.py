"""What is wrong with a file, as a person reads it: file, line, path, what, what would be right."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Path = tuple[str | int, ...]
"""Keys and indices from the top of a document to a value."""

_PLAIN_KEY = re.compile(r"[A-Za-z_][\w-]*")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong; `str` gives `run.yaml:12: spec.seed: -1 is below 0; ...`."""

    file: str
    """File as the user named it."""
    line: int | None
    """From 1; None where there is no line (a file that is missing, an override)."""
    path: str
    """Place in the document, as in `spec.stages[2].mathRL`; empty for the whole document."""
    message: str
    """What is wrong and what would be right."""

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return ": ".join(part for part in (where, self.path, self.message) if part)

    def dump(self) -> dict[str, Any]:
        """Plain data for `-o json`."""
        return {"file": self.file, "line": self.line, "path": self.path, "message": self.message}


def path_text(path: Sequence[str | int]) -> str:
    """`("spec", "stages", 2, "name")` as `spec.stages[2].name`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return text
