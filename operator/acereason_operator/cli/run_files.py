"""Reading the run file of a verb: FILE, --set, --values, and the store that is meant."""

import argparse
import sys
from pathlib import Path

from acereason_trainer.config.problems import Problem
from acereason_trainer.config.sources import ModelSource, Source

from acereason_operator.api.load import load_run
from acereason_operator.api.local_paths import missing_paths
from acereason_operator.cli.store import STORE_VARIABLE, named_store
from acereason_operator.cli.which_run import near
from acereason_operator.local.not_here import NoStoreHere, store_of
from acereason_operator.local.run import LocalRun, next_start
from acereason_operator.local.run_directory import UnreadableStatus
from acereason_operator.planner.recipe import recipe_of
from acereason_operator.planner.stages import DONE


class Unusable(Exception):
    """The file cannot be run here; every problem was printed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare FILE, --store, --set, --values and --until."""
    parser.add_argument("file", type=Path, metavar="FILE", help="run file")
    parser.add_argument(
        "--store",
        type=Path,
        metavar="DIR",
        help=f"the store (default: ${STORE_VARIABLE}, else spec.storage of the file)",
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
    parser.add_argument("--until", metavar="STAGE", help="only this stage and what it needs")


def read(args: argparse.Namespace) -> LocalRun:
    """The run as it will be carried out. Raises Unusable when every problem is printed."""
    base = args.file.parent.resolve()
    loaded = load_run(args.file, args.set, args.values)
    missing = missing_paths(loaded.document, args.file.parent)
    if loaded.run is None:
        raise _refused(loaded.problems + missing)
    try:
        store = store_of(loaded.run.spec, base, named_store(args))
    except NoStoreHere as error:
        print(f"{args.file}: {error}", file=sys.stderr)
        raise Unusable from error
    names = [stage.name for stage in loaded.run.spec.stages]
    if args.until is not None and args.until not in names:
        print(
            f"--until: there is no stage {args.until}; {near(args.until, names)}", file=sys.stderr
        )
        raise Unusable
    asked = LocalRun(loaded.run, base, store, args.until)
    if missing:
        missing = missing_paths(loaded.document, args.file.parent, but=_imported(asked))
    if missing:
        raise _refused(missing)
    return asked


def _refused(problems: list[Problem]) -> Unusable:
    for problem in problems:
        print(problem, file=sys.stderr)
    return Unusable()


def _imported(asked: LocalRun) -> set[str]:
    """Paths that only stages read which are done and stay so: they are in the store by now."""
    try:
        status = next_start(asked)
    except (UnreadableStatus, OSError):  # said when the run starts; nothing is known to be done
        return set()
    done = {stage.name for stage in status.stages if stage.state in DONE}
    inputs = recipe_of(asked.run.spec).inputs
    read: dict[bool, set[str]] = {True: set(), False: set()}
    for stage, sources in inputs.items():
        for _, source in sources.by_name():
            read[stage in done] |= _paths(source)
    return read[True] - read[False]


def _paths(source: Source | ModelSource) -> set[str]:
    if source.path is not None:
        return {source.path}
    if isinstance(source, ModelSource) and source.from_config is not None:
        return {source.from_config.config, source.from_config.tokenizer}
    return set()
