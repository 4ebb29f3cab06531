"""`acereason logs STAGE`: what a stage wrote."""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from acereason_operator.cli.store import add_store, find_store
from acereason_operator.cli.which_run import NotThere, find_run, near
from acereason_operator.local.job_files import started_jobs
from acereason_operator.local.run_directory import RunDirectory
from acereason_operator.planner.stages import FINAL

FILES = ("prepare.log", "launcher.log")
"""In the order in which an attempt writes them; the ranks' follow."""
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
    parser.add_argument("stage", metavar="STAGE", help="stage of the run")
    parser.add_argument(
        "--run", dest="name", metavar="RUN", help="run (default: the one that was written last)"
    )
    parser.add_argument("--attempt", type=int, metavar="N", help="attempt (default: the newest)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the stage ends")
    add_store(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the verb."""
    directory = find_run(find_store(args), args.name)
    _check(directory, args.stage)
    shown: dict[Path, int] = {}
    while True:
        goes_on = args.follow and _goes_on(directory, args.stage)
        attempt = _attempt(directory, args.stage, args.attempt)
        for text in _news(attempt, shown) if attempt else ():
            sys.stdout.write(text)
        sys.stdout.flush()
        if not goes_on:
            break
        time.sleep(POLL)
    if not shown:
        raise NotThere(f"stage {args.stage} of run {directory.name} has written nothing yet")
    return 0


def _check(run_: RunDirectory, stage: str) -> None:
    stages = [s.name for s in run_.status().stages]
    if stage not in stages:
        raise NotThere(f"run {run_.name} has no stage {stage}; {near(stage, stages)}")


def _goes_on(run_: RunDirectory, stage: str) -> bool:
    """Whether more may come."""
    if any(f.stage == stage and f.alive for f in started_jobs(run_.store, run_.name)):
        return True
    states = {s.name: s.state for s in run_.status().stages}
    return run_.is_carried_out and states.get(stage, "Failed") not in FINAL


def _attempt(run_: RunDirectory, stage: str, number: int | None) -> Path | None:
    """Directory of an attempt; None where there is none yet. Raises NotThere."""
    work = run_.store / "work" / run_.name / stage
    attempts = sorted(int(path.name) for path in work.glob("[0-9]*"))
    if number is None:
        return work / str(attempts[-1]) if attempts else None
    if number not in attempts:
        there = ", ".join(map(str, attempts)) or "none yet"
        raise NotThere(f"stage {stage} has no attempt {number}; it has {there}")
    return work / str(number)


def _news(directory: Path, shown: dict[Path, int]) -> Iterator[str]:
    """What the log files hold beyond what was shown, each under its name."""
    ranks = sorted(directory.glob("rank-*.log"), key=lambda path: (len(path.name), path.name))
    for path in (*(directory / name for name in FILES), *ranks):
        if not path.exists():
            continue
        with path.open("rb") as log:
            log.seek(shown.get(path, 0))
            content = log.read()
        if content:
            if path not in shown:
                yield f"==> attempt {directory.name}, {path.name} <==\n"
            yield content.decode(errors="replace")
            shown[path] = shown.get(path, 0) + len(content)
