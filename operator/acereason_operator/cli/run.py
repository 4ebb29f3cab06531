"""`acereason run FILE`: carry a run out on this machine and show how it goes."""

import argparse
import signal
import sys

from acereason_trainer.artifacts.errors import StoreFull

from acereason_operator.api.status import RunStatus
from acereason_operator.cli import last_store, programs, run_files
from acereason_operator.cli.output_gone import may_be_gone
from acereason_operator.cli.show import Bars, JsonLines, Lines, Show, WhileItLasts
from acereason_operator.cli.summary import failures, results, summary
from acereason_operator.local.not_here import ignored
from acereason_operator.local.run import LocalRun, carry_out
from acereason_operator.local.run_directory import AlreadyRunning, UnreadableStatus
from acereason_operator.local.stopping import StopRequests
from acereason_operator.planner.stages import DONE as STAGE_DONE

DONE = 0
FAILED = 1
MISUSED = 2


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "run",
        help="carry a run out on this machine",
        description="Carry a run out on this machine, stage by stage; what is finished already is "
        "reused. Shows how it goes, and ends with a table and report.html. Ctrl-C stops it, a "
        "second one kills it, and the same command goes on. Exit codes: 0 done, 1 a stage failed, "
        "2 the file is wrong, 130 or 143 stopped.",
        epilog="example: acereason run examples/quickstart.yaml --until math-1 "
        "--set stages.math-1.mathRL.stop.steps=5",
    )
    run_files.add_arguments(parser)
    parser.add_argument(
        "-o",
        "--output",
        choices=["text", "json"],
        default="text",
        help="json: one JSON object per event on stdout, the final status in the last one, in "
        "place of table and report",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the verb."""
    try:
        asked = run_files.read(args)
    except run_files.Unusable:
        return MISUSED
    if there := ignored(asked.run.spec):
        _say(f"ignored on this machine: {', '.join(there)}")
    last_store.remember(asked.store)
    stop = StopRequests()
    with stop.listening(), WhileItLasts(_show(args.output)) as show:
        try:
            status = carry_out(asked, show, stop)
        except (AlreadyRunning, UnreadableStatus, StoreFull) as error:
            _say(str(error))
            return FAILED
        except OSError as error:
            _say(f"{asked.store} cannot be used: {error}")
            return FAILED
    return _ended(args.output, asked, status, stop.signal)


def _show(output: str) -> Show:
    if output == "json":
        return JsonLines()
    return Bars() if sys.stderr.isatty() else Lines()


def _ended(output: str, asked: LocalRun, status: RunStatus, stopped_by: int | None) -> int:
    """Say how it ended: table, report, failures, or how to go on."""
    left = [s for s in status.stages if s.name in asked.wanted and s.state not in STAGE_DONE]
    code = _exit_code(stopped_by) if left else DONE
    if output == "json":
        came_to = results(asked.store, asked.run, status)
        with may_be_gone():
            JsonLines.last(code, status, came_to)
    else:
        _print(summary(asked.store, asked.run, status))
        if not (left and stopped_by):
            _report(asked)
    for sentence in failures(status):
        _say(sentence)
    if left and stopped_by:
        _say(f"stopped by {signal.Signals(stopped_by).name}; the same command goes on from here")
    elif held := [s.name for s in left if s.state == "Suspended"]:
        _say(f"held back by suspend: {', '.join(held)}; set it to false to go on")
    if out := [n for n in asked.context.left_out if n not in _done(status)]:
        _say(f"not asked for: {', '.join(out)}; without --until {asked.until} they follow")
    return code


def _done(status: RunStatus) -> set[str]:
    return {s.name for s in status.stages if s.state in STAGE_DONE}


def _report(asked: LocalRun) -> None:
    path = programs.write_report(asked.store, asked.run.metadata.name)
    if path is not None:
        _print(f"\nreport: {path}")


def _exit_code(stopped_by: int | None) -> int:
    return FAILED if stopped_by is None else 128 + stopped_by


def _print(text: str) -> None:
    with may_be_gone():
        print(text, flush=True)


def _say(sentence: str) -> None:
    with may_be_gone():
        print(sentence, file=sys.stderr, flush=True)
