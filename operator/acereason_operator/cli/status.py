"""`acereason status [RUN]`: where runs are."""

import argparse
import json
import sys
from datetime import UTC, datetime

from acereason_operator.cli.runs import NoSuchRun, find_run, read_status, run_names
from acereason_operator.cli.store import NoStore, add_store, find_store
from acereason_operator.cli.tables import duration, steps, table, time_taken
from acereason_operator.planner.times import parse_time


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "status",
        help="show where runs are",
        description="Show all runs of a store, or the stages of one.",
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
    try:
        store = find_store(args)
        names = [find_run(store, args.name)] if args.name else run_names(store)
        statuses = {name: read_status(store, name) for name in names}
        if not names:
            find_run(store, None)
    except (NoStore, NoSuchRun) as error:
        print(error, file=sys.stderr)
        return 2
    if args.output == "json":
        found = {name: status.dump() for name, status in statuses.items()}
        print(json.dumps(found[args.name] if args.name else found, indent=2))
    elif args.name:
        stages = statuses[args.name].stages
        rows = [(s.name, s.state, s.attempts, steps(s), time_taken(s), s.message) for s in stages]
        print(table(("STAGE", "STATE", "ATTEMPTS", "STEPS", "TIME", "MESSAGE"), rows))
    else:
        rows_ = [
            (name, s.state, s.stage, s.progress, _age(s.started_at)) for name, s in statuses.items()
        ]
        print(table(("RUN", "STATE", "STAGE", "PROGRESS", "AGE"), rows_))
    return 0


def _age(started_at: str | None) -> str:
    if started_at is None:
        return ""
    return duration((datetime.now(UTC) - parse_time(started_at)).total_seconds())
