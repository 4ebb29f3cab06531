"""Figures of the operator's benchmark as Markdown, for docs/performance.md and the README."""

from collections.abc import Mapping
from typing import Any

Result = Mapping[str, Any]
ARGO = {"p50": 103.0, "p99": 143.0, "cpu": 0.02, "mib": 205.0}
"""Argo Workflows 4.1 with the same kind of player: four sequential steps, a pod's end to the next
pod, its requeue time tuned to 100 ms (it is 10 s as it comes); memory at 1,000 workflows."""


def table(result: Result) -> str:
    """Latency and cost at each number of active runs, with the peer's below."""
    head = ["active runs", "pod's end to next Job p50", "p95", "p99", "queue wait p99",
            "work p99", "CPU s per stage", "resident, grown", "resident, started anew"]  # fmt: skip
    windows = [result["wholeRuns"], *result["active"]]
    rows = [_row(window) for window in windows]
    peer = ["Argo Workflows 4.1", f"{ARGO['p50']:.0f} ms", "", f"{ARGO['p99']:.0f} ms", "", "",
            f"{ARGO['cpu']:.3f}", "", f"{ARGO['mib']:.0f} MiB (1,000)"]  # fmt: skip
    return "\n".join("| " + " | ".join(r) + " |" for r in (head, ["---"] * len(head), *rows, peer))


def told(result: Result) -> list[str]:
    """The README's block: a sentence and the table."""
    return [
        f"Four-stage runs on a real API server, pods ending {result['load']['endsPerSecond']:g} "
        "times a second whatever the operator does, all on the same cores.",
        table(result),
    ]


def sentences(result: Result) -> list[str]:
    """What the table does not hold, a sentence each."""
    whole, finished, churn = result["wholeRuns"], result["finished"], result["churn"]
    per_run, idle = whole["perRun"], result["idle"]["residentMib"]
    verbs = ", ".join(f"{verb} {n:g}" for verb, n in per_run["byVerb"].items())
    lines = [
        f"A run of four stages costs {per_run['jobCreations']:g} Job creations and "
        f"{per_run['writesWithoutEvents']:g} writes in all besides {per_run['events']:g} Events; "
        f"requests by verb: {verbs}.",
        f"{whole['quiet']['finished']} finished and {whole['quiet']['suspended']} suspended runs "
        f"cost {sum(whole['quiet']['requests'].values()):g} requests in "
        f"{whole['quiet']['seconds']:g} s.",
        f"Without runs {idle:g} MiB are resident.",
        _memory("active", result["active"][-1], idle),
        _memory("finished", finished, idle),
        f"Started anew, {_starts(result)} until every run was reconciled once.",
    ]
    if (failover := result["active"][-1].get("failover")) is not None:
        lines.append(
            f"After kill -9 of the leader the waiting replica leads within "
            f"{failover['leadsAfterSeconds']:g} s and makes the next Job within "
            f"{failover['nextJobAfterSeconds']:g} s."
        )
    lines.append(
        f"While {churn['runsGone']} runs were created, finished and deleted in "
        f"{churn['seconds'] / 60:g} minutes, memory went from {churn['residentMib']['start']:g} to "
        f"{churn['residentMib']['end']:g} MiB; over the second half by {churn['growthMib']:+.2f}."
    )
    return lines


def _row(window: Mapping[str, Any]) -> list[str]:
    waits = window["podEndToNextJobMs"]
    cold = window.get("coldStart", {}).get("residentMib")
    return [
        f"{window['runs']:,}",
        *(f"{waits[q]:.0f} ms" for q in ("p50", "p95", "p99")),
        f"{window['queueWaitMs']['p99']:.0f} ms",
        f"{window['workMs']['p99']:.0f} ms",
        f"{window['cpuSecondsPerStage']:.3f}",
        f"{window['residentMib']:.0f} MiB" if "residentMib" in window else "",
        f"{cold:.0f} MiB" if cold is not None else "",
    ]


def _memory(which: str, found: Mapping[str, Any], idle: float) -> str:
    cold, runs = found["coldStart"], found["runs"]
    objects = cold["objects"]
    per_thousand = (cold["residentMib"] - idle) * 1000 / runs
    return (
        f"1,000 {which} runs hold {per_thousand:.0f} MiB more (measured with {runs:,}: "
        f"{objects['jobs']:,} Jobs and {objects['pods']:,} Pods are known, "
        f"{cold['packedMib']:.1f} MiB packed)."
    )


def _starts(result: Result) -> str:
    found = [*result["active"], result["finished"]]
    kinds = ["active"] * len(result["active"]) + ["finished"]
    return ", ".join(
        f"{f['coldStart']['seconds']:g} s with {f['runs']:,} {kind} runs"
        for f, kind in zip(found, kinds, strict=True)
    )
