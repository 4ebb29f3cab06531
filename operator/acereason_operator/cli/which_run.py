"""Which run, stage or attempt of a store is meant."""

import difflib
from collections.abc import Collection
from pathlib import Path

from acereason_operator.local.run_directory import RunDirectory


class NotThere(Exception):
    """No run, stage or attempt of this name; the text says which ones are near."""


def run_names(store: Path) -> list[str]:
    """Runs of a store, the one that was written last at the end."""
    files = sorted(store.glob("runs/*/status.json"), key=lambda path: path.stat().st_mtime)
    return [path.parent.name for path in files]


def find_run(store: Path, name: str | None) -> RunDirectory:
    """The named run, or the one that was written last. Raises NotThere."""
    names = run_names(store)
    if not names:
        raise NotThere(f"{store} holds no run yet; start one with acereason run FILE")
    if name is not None and name not in names:
        raise NotThere(f"there is no run {name} in {store}; {near(name, names)}")
    return RunDirectory(store, name or names[-1])


def near(name: str, names: Collection[str]) -> str:
    """`did you mean math-1?`, or all that there is."""
    close = difflib.get_close_matches(name, names, n=3)
    return f"did you mean {' or '.join(close)}?" if close else f"there is {', '.join(names)}"
