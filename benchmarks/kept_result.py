"""A result file that is written part by part, so that a run which is cut loses one part.

Parts are of commits: two trees that are no commit's may be of different code under one name. They
are of one commit, and of one machine with one number of threads, unless each part says which it is
of (`measured`), so that whoever reads the figures can tell.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.machine import is_committed

SAME = ("processor", "cores", "threads", "versions")
"""What machines are told apart by. `threads` is there where whoever starts the benchmark can choose
them; else they go by the cores, or are always as many."""


def kept(
    path: Path | None, machine: Mapping[str, Any], *, each_says: bool = False
) -> dict[str, Any]:
    """What an earlier start has left in the file; nothing of it where it was measured elsewhere, or
    where nobody can say of which code it is. each_says: whether parts name their own commit and
    machine."""
    if path is None or not path.exists():
        return {}
    found: dict[str, Any] = json.loads(path.read_text())
    for commit in (machine["commit"], found["machine"]["commit"]):
        if not is_committed(commit):
            return _left_behind(path, f"{commit} is no commit, and may be of other code")
    if each_says:
        return found
    if any(found["machine"].get(name) != machine.get(name) for name in SAME):
        return _left_behind(path, "it is of another machine, number of threads or versions")
    if found["machine"]["commit"] != machine["commit"]:
        return _left_behind(path, "it is of another commit")
    return found


def _left_behind(path: Path, why: str) -> dict[str, Any]:
    print(f"parts of {path} are left behind: {why}", flush=True)
    return {}


def measured_at(result: Mapping[str, Any], package: str = "torch") -> tuple[str, str]:
    """Dates of a result's parts, and on which machines at which commits they were measured, in
    words; which part is of which, where they are of several.

    package: whose version is told.
    """
    measured = result.get("measured") or {"": {**result["machine"], "machine": result["machine"]}}
    dates = sorted({found["date"] for found in measured.values()})
    places: dict[str, dict[str, list[str]]] = {}
    for part, found in measured.items():
        machine = found["machine"]
        version = f"{package} {machine['versions'][package]}"
        threads = machine.get("threads", machine["cores"])
        few = "" if threads == machine["cores"] else f", threads: {threads}"
        on = f"{machine['cores']} cores ({machine['processor']}){few}, {version}"
        places.setdefault(on, {}).setdefault(found["commit"], []).append(part)
    several = sum(map(len, places.values())) > 1
    told = [
        f"on {on}, at "
        + " and at ".join(c + (f" ({', '.join(p)})" if several else "") for c, p in at.items())
        for on, at in places.items()
    ]
    return " to ".join(dict.fromkeys((dates[0], dates[-1]))), "; ".join(told)


def write(path: Path | None, result: Mapping[str, Any]) -> None:
    """Replace the file as a whole: whoever is cut off leaves the parts before."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(json.dumps(result, indent=1) + "\n")
    temporary.replace(path)
