"""Which store a verb works on."""

import argparse
import os
from pathlib import Path

from acereason_operator.cli import last_store

STORE_VARIABLE = "ACEREASON_STORE"


class NoStore(Exception):
    """No store was named, or what was named is none."""


def find_store(args: argparse.Namespace) -> Path:
    """`--store`, else $ACEREASON_STORE, else `store` right here, else the last run's.

    A directory `store` counts if a run or an artifact was put there. Raises NoStore, as a sentence.
    """
    named = named_store(args)
    if named is not None:
        if not named.is_dir():
            raise NoStore(f"{named} is not a directory; a store holds artifacts/, work/ and runs/")
        if not _is_store(named):
            raise NoStore(
                f"{named} is no store, or an empty one: it holds no artifacts/, work/ or runs/; "
                "name another, or start a run with acereason run FILE"
            )
        return named
    if _is_store(Path("store")):
        return Path("store")
    if (last := last_store.last()) is not None:
        return last
    raise NoStore(f"there is no store here; name one with --store DIR or ${STORE_VARIABLE}")


def _is_store(directory: Path) -> bool:
    return any((directory / inside).is_dir() for inside in ("artifacts", "work", "runs"))


def named_store(args: argparse.Namespace) -> Path | None:
    """What `--store`, else $ACEREASON_STORE says."""
    named = args.store or os.environ.get(STORE_VARIABLE)
    return Path(named) if named else None


def add_store(parser: argparse.ArgumentParser) -> None:
    """Declare `--store`, as every verb that reads a store has it."""
    parser.add_argument(
        "--store",
        metavar="DIR",
        help=f"the store (default: ${STORE_VARIABLE}, ./store, else that of the last run)",
    )
