"""Reading the run file of a verb: FILE, --set, --values, and the store that is meant."""

import argparse
import sys
from pathlib import Path

from acereason_operator.api.load import load_run
from acereason_operator.api.local_paths import missing_paths
from acereason_operator.local.not_here import NoStoreHere, store_of
from acereason_operator.local.run import LocalRun


class Unusable(Exception):
    """The file cannot be run here; every problem was printed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare FILE, --store, --set and --values."""
    parser.add_argument("file", type=Path, metavar="FILE", help="run file")
    parser.add_argument(
        "--store", type=Path, metavar="DIR", help="directory to use in place of spec.storage"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="change one value, stages by name: stages.math-1.mathRL.stop.steps=10 (repeatable)",
    )
    parser.add_argument(
        "--values",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="a partial run whose values replace the file's, stages by name (repeatable)",
    )


def read(args: argparse.Namespace) -> LocalRun:
    """The run as it will be carried out. Raises Unusable when every problem is printed."""
    base = args.file.parent.resolve()
    loaded = load_run(args.file, args.set, args.values)
    problems = loaded.problems + missing_paths(loaded.document, args.file.parent)
    for problem in problems:
        print(problem, file=sys.stderr)
    if loaded.run is None or problems:
        raise Unusable
    try:
        store = store_of(loaded.run.spec, base, args.store)
    except NoStoreHere as error:
        print(f"{args.file}: {error}", file=sys.stderr)
        raise Unusable from error
    return LocalRun(loaded.run, base, store)
