"""Verbs that are programs of the trainer: started as processes, never imported."""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from acereason_operator.cli.store import STORE_VARIABLE, NoStore, add_store, find_store
from acereason_operator.cli.which_run import find_run

FAILED = 1
MISUSED = 2
REPORT = "acereason_trainer.telemetry.report"
HANDED_ON = {
    "grade": (("acereason_trainer.rewards",), "check answers of a JSONL file"),
    "curate": (("acereason_trainer.curation",), "look at what curation would do to a dataset"),
    "compare": (
        ("acereason_trainer.evaluation", "compare"),
        "compare two evaluations, problem by problem",
    ),
}
"""Verb: module with first arguments, and what it does; the module has its own --help."""


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verbs."""
    report = verbs.add_parser(
        "report",
        help="write a run's HTML page",
        description="Write a run as one self-contained page: accuracy, curves, lineage, answers.",
        epilog="example: acereason report quickstart --out quickstart.html",
    )
    report.add_argument("name", nargs="?", metavar="RUN", help="run (default: the newest)")
    report.add_argument(
        "--out", type=Path, metavar="FILE", help="default: runs/RUN/report.html of the store"
    )
    add_store(report)
    report.set_defaults(run=_report)
    for verb, (_, what) in HANDED_ON.items():
        verbs.add_parser(verb, help=what)


def hand_on(verb: str, rest: Sequence[str]) -> NoReturn:
    """Become a verb's module with the rest of the command line.

    It finds the store that other verbs would take in the environment.
    """
    with suppress(NoStore):
        os.environ[STORE_VARIABLE] = str(find_store(argparse.Namespace(store=None)))
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", *HANDED_ON[verb][0], *rest])


def write_report(store: Path, run: str, out: Path | None = None) -> Path | None:
    """Start the report's program; returns the file, or None where it failed (it said why)."""
    out = out or store / "runs" / run / "report.html"
    command = [sys.executable, "-m", REPORT, "--store", str(store), "--run", run, "--out", str(out)]
    done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    return out if done.returncode == 0 else None


def _report(args: argparse.Namespace) -> int:
    store = find_store(args)
    name = find_run(store, args.name).name
    out = write_report(store, name, args.out)
    if out is None:
        return MISUSED if args.out else FAILED
    print(out)
    return 0
