"""What does the operator cost, and how fast does it go on? On a real API server, with real Jobs.

    make bench-operator            (should take 15 minutes on 2 quiet cores)

A control plane of its own (kube-apiserver, etcd, controller manager), the operator as a process
under the roles that the chart installs, and a player in this process that patches the status of
pods and nothing else. Runs have four stages. Pods end by a schedule that waits for nobody (an open
loop). Latencies are between arrivals of this process's own watches.

Writes benchmarks/results/operator.json, prints its table, checks every goal.
"""

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from benchmarks.operator_cluster import cluster_of
from benchmarks.operator_figures import goals_of, missed
from benchmarks.operator_phases import Bench, Sizes
from benchmarks.operator_player import STEP_SECONDS, Player
from benchmarks.operator_tables import table
from tests.controlplane.lifetimes import private_control_plane
from tests.operator.scenarios.roles import operator_account

RESULT = Path("benchmarks/results/operator.json")
MEASUREMENTS = ("idle", "wholeRuns", "active", "finished", "churn")
BY_ITSELF = "churn"
"""Takes an hour, so it is measured only where it is asked for."""
FLAGS = {
    "kube-controller-manager": ["--concurrent-job-syncs=10", "--concurrent-gc-syncs=20"],
}
"""Beside those of tests/controlplane/control_plane.py; all are in the result."""


def main() -> int:
    """Measure, write the result; 1 with a sentence for each goal that is missed."""
    logging.basicConfig(level=logging.WARNING)
    args = _arguments()
    sizes = Sizes(
        args.whole, tuple(args.active), args.finished, args.rate, args.seconds, args.churn
    )
    result = asyncio.run(_measured(sizes, args.logs, args.only))
    result["goals"] = goals_of(result)
    out = args.out or (None if args.only else RESULT)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1) + "\n")
    if not args.only:
        print(table(result))
    sentences = missed(result["goals"])
    for sentence in sentences:
        print(f"missed: {sentence}")
    if not sentences:
        print("every goal is met")
    return 1 if sentences else 0


async def _measured(sizes: Sizes, logs: Path, only: list[str]) -> dict[str, Any]:
    result: dict[str, Any] = {"machine": machine()}
    async with _bench(sizes, logs) as bench:
        result["controlPlane"] = bench.described()
        result["load"] = {
            "endsPerSecond": sizes.rate,
            "stagesOfARun": 4,
            "progressReads": "every 30 s of each training stage, as the operator does by default",
            "secondsOfAStep": STEP_SECONDS,
        }
        measures = (bench.idle, bench.whole_runs, bench.active, bench.finished, bench.churned)
        for name, measure in zip(MEASUREMENTS, measures, strict=True):
            if name not in only and (only or name == BY_ITSELF):
                continue
            print(f"{name} ...", flush=True)
            result[name] = await measure()
            print(json.dumps(result[name]), flush=True)
    return result


@asynccontextmanager
async def _bench(sizes: Sizes, logs: Path) -> AsyncIterator[Bench]:
    logs.mkdir(parents=True, exist_ok=True)
    with private_control_plane(FLAGS) as control_plane:
        home, namespace = (control_plane.new_namespace(name) for name in ("operator", "bench"))
        account = operator_account(control_plane, home)
        async with (
            cluster_of(control_plane) as cluster,
            Player(cluster, namespace) as player,
        ):
            bench = Bench(control_plane, account, home, cluster, player, namespace, sizes, logs)
            try:
                yield bench
            finally:
                bench.kill_all()


def _arguments() -> argparse.Namespace:
    sizes = Sizes()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.operator",
        description=(__doc__ or "").split("\n", maxsplit=1)[0],
        epilog="example: python -m benchmarks.operator --active 300 1000 3000; "
        "python -m benchmarks.operator --only churn --rate 1",
    )
    parser.add_argument(
        "--whole",
        type=int,
        default=sizes.whole,
        metavar="RUNS",
        help="carried from start to end, to count requests (default: %(default)s)",
    )
    parser.add_argument(
        "--active",
        type=int,
        nargs="+",
        default=list(sizes.active),
        metavar="RUNS",
        help="active runs at which latency and memory are measured, ascending; 3000 adds 10 minutes"
        " (default: 300 1000)",
    )
    parser.add_argument(
        "--finished",
        type=int,
        default=sizes.finished,
        metavar="RUNS",
        help="finished runs whose memory is measured (default: %(default)s)",
    )
    parser.add_argument(
        "--rate",
        type=float,
        default=sizes.rate,
        metavar="ENDS",
        help="of pods a second (default: %(default)g)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=sizes.seconds,
        help="of a measurement at one size (default: %(default)g)",
    )
    parser.add_argument(
        "--churn",
        type=float,
        default=sizes.churn,
        metavar="SECONDS",
        help="of creating, finishing and deleting runs (default: %(default)g)",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=MEASUREMENTS,
        default=[],
        metavar="MEASUREMENT",
        help=f"some of {', '.join(MEASUREMENTS)} (default: all but {BY_ITSELF})",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help=f"of the result (default: {RESULT}; with --only: none)",
    )
    parser.add_argument(
        "--logs",
        type=Path,
        default=Path("build/bench/operator"),
        metavar="FOLDER",
        help="of the operators' logs (default: %(default)s)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
