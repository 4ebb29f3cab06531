"""A result file that is written part by part, so that a run which is cut loses one part.

Parts are of one commit on one machine with one number of threads: those of another are left behind,
and those of a tree that was no commit's, since two of these may be of different code.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.machine import is_committed

SAME = ("processor", "cores", "threads", "versions", "commit")
"""What must be alike of the machines of two parts that stand in one file. `threads` is there where
whoever starts the benchmark can choose them; else they go by the cores, or are always as many."""


def kept(path: Path | None, machine: Mapping[str, Any]) -> dict[str, Any]:
    """What an earlier start has left in the file; nothing of it where it was measured elsewhere, or
    where nobody can say of which code it is."""
    if path is None or not path.exists():
        return {}
    found: dict[str, Any] = json.loads(path.read_text())
    if not is_committed(machine["commit"]):
        print(
            f"what runs is {machine['commit']}, not a commit: parts of {path} are left behind, "
            "which may be of other code",
            flush=True,
        )
        return {}
    if any(found["machine"].get(name) != machine.get(name) for name in SAME):
        print(
            f"{path} is of another commit, machine or number of threads: its parts are left behind",
            flush=True,
        )
        return {}
    return found


def write(path: Path | None, result: Mapping[str, Any]) -> None:
    """Replace the file as a whole: whoever is cut off leaves the parts before."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(json.dumps(result, indent=1) + "\n")
    temporary.replace(path)
