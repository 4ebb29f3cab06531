"""`acereason status [RUN]`: where runs are."""

import argparse
import json
import sys
from datetime import UTC, datetime
from typing import Any

from acereason_operator.api.status import RunStatus
from acereason_operator.cli.store import add_store, find_store
from acereason_operator.cli.tables import duration, state_and_message, steps, table, time_taken
from acereason_operator.cli.which_run import find_run, run_names
from acereason_operator.local.job_files import started_jobs
from acereason_operator.local.run_directory import RunDirectory, UnreadableStatus
from acereason_operator.planner.times import parse_time

UNREADABLE = "Unreadable"
"""In the place of a state."""


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "status",
        help="show where runs are",
        description="Show all runs of a store, or the stages of one. PROGRESS 2/13 (40/500): 2 of "
        "13 stages are done, and 40 of 500 steps of the one that runs.",
        epilog="example: acereason status quickstart -o json",
    )
    parser.add_argument("name", nargs="?", metavar="RUN", help="show its stages")
    add_store(parser)
    parser.add_argument(
        "-o", "--output", choices=["table", "json"], default="table", help="form of the answer"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the verb."""
    store = find_store(args)
    newest = find_run(store, args.name)
    if args.name:
        status = newest.status()
        print(_json(newest, status) if args.output == "json" else _stages(newest, status))
        return 0
    runs = [find_run(store, name) for name in run_names(store)]
    statuses = [_status(run) for run in runs]
    told = list(zip(runs, statuses, strict=True))
    if args.output == "json":
        print(json.dumps([_plain(*one) for one in told], indent=2, ensure_ascii=False))
    else:
        print(_runs(told))
    return 1 if None in statuses else 0


def state(run: RunDirectory, status: RunStatus) -> str:
    """The run's state, and whether anybody sees to it."""
    if status.finished_at is not None or run.is_carried_out:
        return status.state
    if any(files.alive for files in started_jobs(run.store, run.name)):
        return "Unattended"
    return "Stopped"


def _status(run_: RunDirectory) -> RunStatus | None:
    """The status; None where it is damaged, which is said and hides no other run."""
    try:
        return run_.status()
    except UnreadableStatus as error:
        print(error, file=sys.stderr)
        return None


def _runs(runs: list[tuple[RunDirectory, RunStatus | None]]) -> str:
    rows = []
    for run_, s in runs:
        if s is None:
            rows.append((run_.name, UNREADABLE, "", "", ""))
        else:
            rows.append((run_.name, state(run_, s), _where(s), s.progress, _age(s.started_at)))
    return table(("RUN", "STATE", "STAGE", "PROGRESS", "AGE"), rows)


def _where(status: RunStatus) -> str:
    """What is at work; of a run that has failed, what failed."""
    return status.stage or ", ".join(s.name for s in status.stages if s.state == "Failed")


def _stages(run_: RunDirectory, status: RunStatus) -> str:
    rows = []
    for s in status.stages:
        stage_state, message = state_and_message(s)
        rows.append((s.name, stage_state, s.attempts, steps(s), time_taken(s), message))
    now = state(run_, status)
    note = {
        "Stopped": "\n\nnothing of it runs; the same `acereason run` goes on from here",
        "Unattended": "\n\na stage still runs without `acereason run`, which takes it up again",
    }
    shown = table(("STAGE", "STATE", "ATTEMPTS", "STEPS", "TIME", "MESSAGE"), rows)
    return f"run {run_.name}: {now}\n\n{shown}{note.get(now, '')}"


def _json(run_: RunDirectory, status: RunStatus) -> str:
    return json.dumps(_plain(run_, status), indent=2, ensure_ascii=False)


def _plain(run_: RunDirectory, status: RunStatus | None) -> dict[str, Any]:
    if status is None:
        return {"name": run_.name, "state": UNREADABLE}
    return {"name": run_.name, **status.dump(), "state": state(run_, status)}


def _age(started_at: str | None) -> str:
    if started_at is None:
        return ""
    return duration((datetime.now(UTC) - parse_time(started_at)).total_seconds())
