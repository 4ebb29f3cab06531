"""`acereason validate FILE...`: every problem of every file, before anything is started; and what
is none, and yet worth knowing."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from acereason_trainer.config.problems import Problem

from acereason_operator.api.load import read_documents, read_run
from acereason_operator.api.local_paths import missing_paths
from acereason_operator.planner.idle_gpus import idle_gpus
from acereason_operator.planner.trained_on_later import trained_on_later

OK = 0
BAD_FILE = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `run` reads."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="run files to check")
    parser.add_argument(
        "--local",
        action="store_true",
        help="also check that paths in the files exist on this machine",
    )
    parser.add_argument(
        "-o", "--output", choices=["text", "json"], default="text", help="form of the answer"
    )


def run(args: argparse.Namespace) -> int:
    """Print every problem; 0 where there is none, else 2."""
    problems = validate_files(args.files, local=args.local)
    if args.output == "json":
        print(json.dumps([problem.dump() for problem in problems], indent=2))
    else:
        for problem in problems:
            print(problem, file=sys.stderr)
        if not problems:
            for note in notes_of(args.files):
                print(note, file=sys.stderr)
            print(", ".join(f"{file} is valid" for file in args.files))
    return BAD_FILE if problems else OK


def validate_files(paths: Sequence[Path], *, local: bool = False) -> list[Problem]:
    """Every problem of the files, in their order; with `local`, also paths that do not exist."""
    return [problem for path in paths for problem in _problems_of(path, local=local)]


def notes_of(paths: Sequence[Path]) -> list[str]:
    """What is no problem of a file, and yet worth knowing before it runs."""
    runs = [(path, read_run(d).run) for path in paths for d in read_documents(path)]
    return [
        f"{path}: note: {note}"
        for path, run in runs
        if run
        for note in [*trained_on_later(run.spec), *idle_gpus(run.spec)]
    ]


def _problems_of(path: Path, *, local: bool) -> list[Problem]:
    documents = read_documents(path)
    if not documents:
        return [Problem(str(path), None, "", "is empty; a run file holds one AceReasonRun")]
    problems: list[Problem] = []
    for document in documents:
        problems += read_run(document).problems
        if local:
            problems += missing_paths(document, path.parent)
    return problems
