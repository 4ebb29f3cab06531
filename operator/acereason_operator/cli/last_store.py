"""The store of the last `acereason run`, so that `acereason status` needs no --store after it."""

import contextlib
import os
from pathlib import Path


def remember(store: Path) -> None:
    """Note the store for later commands of this user."""
    path = _path()
    # A home that cannot be written costs a convenience, and no run.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{store}\n")


def last() -> Path | None:
    """The noted store, if it still is there."""
    try:
        store = Path(_path().read_text().strip())
    except FileNotFoundError:
        return None
    return store if store.is_dir() else None


def _path() -> Path:
    """As the XDG base directory specification has it: state that survives a restart."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "acereason" / "store"
