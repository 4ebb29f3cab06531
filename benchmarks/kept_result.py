"""A result file that is written part by part, so that a run which is cut loses one part.

Parts are of one machine with one number of threads, and of commits: two trees that are no commit's
may be of different code under one name. Of one commit, too, unless each part says which it is of
(`measured`), so that whoever reads the figures can tell.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.machine import is_committed

SAME = ("processor", "cores", "threads", "versions")
"""What must be alike of the machines of two parts that stand in one file. `threads` is there where
whoever starts the benchmark can choose them; else they go by the cores, or are always as many."""


def kept(
    path: Path | None, machine: Mapping[str, Any], *, of_any_commit: bool = False
) -> dict[str, Any]:
    """What an earlier start has left in the file; nothing of it where it was measured elsewhere, or
    where nobody can say of which code it is. of_any_commit: whether its parts name their own."""
    if path is None or not path.exists():
        return {}
    found: dict[str, Any] = json.loads(path.read_text())
    for commit in (machine["commit"], found["machine"]["commit"]):
        if not is_committed(commit):
            return _left_behind(path, f"{commit} is no commit, and may be of other code")
    if any(found["machine"].get(name) != machine.get(name) for name in SAME):
        return _left_behind(path, "it is of another machine, number of threads or versions")
    if not of_any_commit and found["machine"]["commit"] != machine["commit"]:
        return _left_behind(path, "it is of another commit")
    return found


def _left_behind(path: Path, why: str) -> dict[str, Any]:
    print(f"parts of {path} are left behind: {why}", flush=True)
    return {}


def measured_at(result: Mapping[str, Any]) -> tuple[str, str]:
    """Dates and commits of a result's parts, in words; which part is of which commit, where they
    are of several."""
    machine = result["machine"]
    measured = result.get("measured") or {"": machine}
    dates = sorted({found["date"] for found in measured.values()})
    parts: dict[str, list[str]] = {}
    for part, found in measured.items():
        parts.setdefault(found["commit"], []).append(part)
    several = len(parts) > 1
    commits = [c + (f" ({', '.join(p)})" if several else "") for c, p in parts.items()]
    return " to ".join(dict.fromkeys((dates[0], dates[-1]))), " and at ".join(commits)


def write(path: Path | None, result: Mapping[str, Any]) -> None:
    """Replace the file as a whole: whoever is cut off leaves the parts before."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(json.dumps(result, indent=1) + "\n")
    temporary.replace(path)
