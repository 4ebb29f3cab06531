"""`acereason run FILE`: carry a run out on this machine and show how it goes."""

import argparse
import sys
from contextlib import AbstractContextManager
from dataclasses import replace

from acereason_trainer.artifacts.errors import StoreFull

from acereason_operator.api.run import AceReasonRunSpec
from acereason_operator.api.status import RunStatus
from acereason_operator.cli import last_store, programs, run_files
from acereason_operator.cli.runs import near
from acereason_operator.cli.show import Bars, JsonLines, Lines
from acereason_operator.cli.summary import failures, results, summary
from acereason_operator.local.not_here import ignored
from acereason_operator.local.run import LocalRun, carry_out
from acereason_operator.local.run_directory import AlreadyRunning, UnreadableStatus
from acereason_operator.local.stopping import StopRequests
from acereason_operator.planner.status import is_true

DONE = 0
FAILED = 1
MISUSED = 2
SIGNALLED = 128
"""Plus the signal's number: 130 after Ctrl-C, 143 after SIGTERM."""


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "run",
        help="carry a run out on this machine",
        description="Carry a run out on this machine, stage by stage; what is finished already is "
        "reused. Ctrl-C stops it, the same command goes on from there. Exit codes: 0 done, 1 a "
        "stage failed, 2 the file is wrong, 130 or 143 stopped.",
        epilog="example: acereason run examples/quickstart.yaml --until math-1 "
        "--set stages.math-1.mathRL.stop.steps=5",
    )
    run_files.add_arguments(parser)
    parser.add_argument("--until", metavar="STAGE", help="only this stage and what it needs")
    parser.add_argument(
        "-o",
        "--output",
        choices=["text", "json"],
        default="text",
        help="json: one JSON object a line, the last one the final status",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the verb."""
    try:
        asked = replace(run_files.read(args), until=args.until)
    except run_files.Unusable:
        return MISUSED
    stages = [stage.name for stage in asked.run.spec.stages]
    if args.until is not None and args.until not in stages:
        print(
            f"--until: there is no stage {args.until}; {near(args.until, stages)}", file=sys.stderr
        )
        return MISUSED
    say_what_is_ignored(asked.run.spec)
    last_store.remember(asked.store)
    stop = StopRequests()
    try:
        with stop.listening(), _audience(args.output) as audience:
            status = carry_out(asked, audience, stop)
    except (AlreadyRunning, UnreadableStatus, StoreFull) as error:
        print(error, file=sys.stderr)
        return FAILED
    return _ended(args.output, asked, status, stop)


def _audience(output: str) -> "AbstractContextManager[Lines | JsonLines]":
    if output == "json":
        return JsonLines()
    return Bars() if sys.stderr.isatty() else Lines()


def _ended(output: str, asked: LocalRun, status: RunStatus, stop: StopRequests) -> int:
    """Say how it ended: the table, the report, the failures, or how to go on."""
    name = asked.run.metadata.name
    report = None if stop.count else programs.write_report(asked.store, name)
    if output == "json":
        JsonLines.last(status, results(asked.store, asked.run, status), report)
    else:
        print(summary(asked.store, asked.run, status))
        if report is not None:
            print(f"\nreport: {report}")
    if stop.signal is not None:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return SIGNALLED + stop.signal
    for sentence in failures(status):
        print(sentence, file=sys.stderr)
    return FAILED if is_true(status, "Failed") else DONE


def say_what_is_ignored(spec: AceReasonRunSpec) -> None:
    """One sentence about settings that mean nothing on one machine."""
    if names := ignored(spec):
        print(f"ignored on this machine: {', '.join(names)}", file=sys.stderr)
