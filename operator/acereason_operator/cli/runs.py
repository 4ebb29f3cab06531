"""Which run, stage or attempt of a store is meant."""

import difflib
from collections.abc import Collection
from pathlib import Path

from acereason_operator.api.status import RunStatus


class NoSuchRun(Exception):
    """No run, stage or attempt of this name; says which ones are near."""


def run_names(store: Path) -> list[str]:
    """Runs of a store, the newest last."""
    files = sorted(store.glob("runs/*/status.json"), key=lambda path: path.stat().st_mtime)
    return [path.parent.name for path in files]


def find_run(store: Path, name: str | None) -> str:
    """The named run, or the one that was written last. Raises NoSuchRun."""
    names = run_names(store)
    if not names:
        raise NoSuchRun(f"{store} holds no run yet; start one with acereason run FILE")
    if name is None:
        return names[-1]
    if name not in names:
        raise NoSuchRun(f"there is no run {name} in {store}; {near(name, names)}")
    return name


def read_status(store: Path, run: str) -> RunStatus:
    """Status of a run as last written."""
    return RunStatus.parse_json((store / "runs" / run / "status.json").read_bytes())


def near(name: str, names: Collection[str]) -> str:
    """`did you mean math-1?`, or all that there is."""
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]}?" if close else f"there is {', '.join(names)}"
