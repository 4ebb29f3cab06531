"""`acereason logs STAGE`: what a stage wrote."""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from acereason_trainer.artifacts.locks import is_held

from acereason_operator.cli.runs import NoSuchRun, find_run, near
from acereason_operator.cli.store import NoStore, add_store, find_store

FILES = ("prepare.log", "launcher.log", "rank-0.log")
"""In the order in which an attempt writes them; further ranks follow."""
POLL = 0.3
"""Seconds between two looks with --follow."""


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "logs",
        help="show what a stage wrote",
        description="Show the logs of a stage's newest attempt: prepare, launcher, ranks.",
        epilog="example: acereason logs math-1 --run quickstart -f",
    )
    parser.add_argument("stage", metavar="STAGE", help="stage")
    parser.add_argument("--run", dest="name", metavar="RUN", help="run (default: the newest)")
    parser.add_argument("--attempt", type=int, metavar="N", help="attempt (default: the newest)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on while the stage runs")
    add_store(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the verb."""
    try:
        store = find_store(args)
        directory = attempt_directory(store, find_run(store, args.name), args.stage, args.attempt)
    except (NoStore, NoSuchRun) as error:
        print(error, file=sys.stderr)
        return 2
    shown: dict[Path, int] = {}
    while True:
        alive = any(is_held(directory / name) for name in ("prepare.lock", "launcher.lock"))
        for text in news(directory, shown):
            sys.stdout.write(text)
        sys.stdout.flush()
        if not (args.follow and alive):
            return 0
        time.sleep(POLL)


def attempt_directory(store: Path, run_name: str, stage: str, attempt: int | None) -> Path:
    """Directory of an attempt. Raises NoSuchRun with what there is instead."""
    work = store / "work" / run_name
    stages = sorted(path.name for path in work.glob("*"))
    if stage not in stages:
        there = near(stage, stages) if stages else "no stage has started yet"
        raise NoSuchRun(f"run {run_name} has no logs of a stage {stage}; {there}")
    attempts = sorted(int(path.name) for path in (work / stage).glob("[0-9]*"))
    number = attempts[-1] if attempt is None else attempt
    if number not in attempts:
        raise NoSuchRun(
            f"stage {stage} has no attempt {number}; it has {', '.join(map(str, attempts))}"
        )
    return work / stage / str(number)


def news(directory: Path, shown: dict[Path, int]) -> Iterator[str]:
    """What the log files hold beyond what was shown, each under its name."""
    ranks = sorted(path.name for path in directory.glob("rank-*.log"))
    for name in dict.fromkeys((*FILES, *ranks)):
        path = directory / name
        if not path.exists():
            continue
        with path.open("rb") as log:
            log.seek(shown.get(path, 0))
            text = log.read().decode(errors="replace")
            if text:
                if path not in shown:
                    yield f"==> {name} <==\n"
                yield text
                shown[path] = log.tell()
