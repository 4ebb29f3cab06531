"""Figures of the operator's benchmark as Markdown, for docs/performance.md and the README."""

from collections.abc import Mapping
from typing import Any

from benchmarks.operator_figures import missed

Result = Mapping[str, Any]
ARGO = {"p50": 103.0, "p99": 143.0, "cpu": 0.02, "mib": 205.0}
"""Argo Workflows 4.1 with the same kind of player: four sequential steps, a pod's end to the next
pod, its requeue time tuned to 100 ms (it is 10 s as it comes); memory at 1,000 workflows."""
QUIET_CORES = 0.2
"""Cores in use by others that do not matter."""


def table(result: Result) -> str:
    """Latency and cost at each number of active runs, with the peer's below."""
    head = ["active runs", "end to next Job p50", "p95", "p99", "queue wait p99", "work p99",
            "CPU s per stage", "resident"]  # fmt: skip
    windows = [result["wholeRuns"], *result["active"]]
    rows = [_row(window) for window in windows]
    peer = ["Argo Workflows 4.1", f"{ARGO['p50']:.0f} ms", "", f"{ARGO['p99']:.0f} ms", "", "",
            f"{ARGO['cpu']:.3f}", f"{ARGO['mib']:.0f} MiB"]  # fmt: skip
    return "\n".join("| " + " | ".join(r) + " |" for r in (head, ["---"] * len(head), *rows, peer))


def told(result: Result) -> list[str]:
    """The README's block."""
    return [
        "Four-stage runs on a real API server, on the same cores as the operator; pods end "
        f"{result['load']['endsPerSecond']:g} times a second whatever it does. Argo Workflows' "
        "figures are of four sequential steps with the same kind of player, at 1,000 workflows, "
        "its requeue time tuned from 10 s to 100 ms; they are stated beside ours, not measured by "
        "this command.",
        table(result),
        _sizes(result),
        *_disturbed(result),
    ]


def _sizes(result: Result) -> str:
    active = " and ".join(f"{window['runs']:,}" for window in result["active"])
    return (
        f"Measured with {result['wholeRuns']['runs']:,} runs carried from start to end, {active} "
        f"active ones for {result['active'][0]['seconds']:.0f} s each, and "
        f"{result['finished']['runs']:,} finished ones."
    )


def told_in_full(result: Result) -> list[str]:
    """The block of docs/performance.md."""
    verdict = [f"Missed: {sentence}." for sentence in missed(result["goals"])]
    return [*told(result), *_sentences(result), *(verdict or ["Every goal is met."])]


def told_of_churn(result: Result) -> list[str]:
    """The block on the hour of churn."""
    churn = result["churn"]
    mib = churn["residentMib"]
    return [
        f"While {churn['runsGone']} runs were created, finished and deleted in "
        f"{churn['seconds'] / 60:g} minutes, {churn['runsAtATime']} at a time, memory went from "
        f"{mib['start']:g} MiB to {mib['middle']:g} half-way and {mib['end']:g} at the end; over "
        f"the second half it grew by {churn['growthMib']:+.2f} MiB, which is the slope of all "
        "readings there.",
        *[f"Missed: {sentence}." for sentence in missed(result["goals"])],
    ]


def _sentences(result: Result) -> list[str]:
    whole, finished = result["wholeRuns"], result["finished"]
    idle, last = result["idle"]["residentMib"], result["active"][-1]
    failover = last["failover"]
    return [
        _requests(whole),
        f"Started anew, the operator holds {idle:.0f} MiB without runs, "
        f"{_memory('active', last)} and "
        f"{_memory('finished', finished)}.",
        f"From the process's start until every run was reconciled once: {_starts(result)}. After "
        f"kill -9 of the leader, a waiting replica leads within {failover['leadsAfterSeconds']:g} "
        f"s and has made the next Job within {failover['nextJobAfterSeconds']:g} s.",
    ]


def _disturbed(result: Result) -> list[str]:
    """What the reader of a latency has to know of the machine."""
    others = max(window["coresInUse"]["others"] for window in result["active"])
    if others < QUIET_CORES:
        return []
    cores = result["machine"]["cores"]
    return [
        f"The machine was busy: other work took {others:g} of its {cores} cores meanwhile, and "
        "latencies are those of an API server that had to wait for its turn."
    ]


def _requests(whole: Mapping[str, Any]) -> str:
    per_run, quiet = whole["perRun"], whole["quiet"]
    verbs = ", ".join(f"{verb} {n:g}" for verb, n in per_run["byVerb"].items())
    return (
        f"A run of four stages costs {per_run['jobCreations']:g} Job creations and "
        f"{per_run['writesWithoutEvents']:g} writes in all besides {per_run['events']:g} Events; "
        f"by verb: {verbs}. {quiet['finished']} finished and {quiet['suspended']} suspended runs "
        f"cost {sum(quiet['requests'].values()):g} requests in {quiet['seconds']:g} s."
    )


def _row(window: Mapping[str, Any]) -> list[str]:
    waits = window["podEndToNextJobMs"]
    return [
        f"{window['runs']:,}",
        *(f"{waits[q]:,.0f} ms" for q in ("p50", "p95", "p99")),
        f"{window['queueWaitMs']['p99']:,.0f} ms",
        f"{window['workMs']['p99']:,.0f} ms",
        f"{window['cpuSecondsPerStage']:.3f}",
        f"{window['residentMib']:.0f} MiB",
    ]


def _memory(which: str, found: Mapping[str, Any]) -> str:
    cold = found["coldStart"]
    objects = cold["objects"]
    return (
        f"{cold['residentMib']:.0f} MiB with {found['runs']:,} {which} runs, of which "
        f"{objects['jobs']:,} Jobs and {objects['pods']:,} Pods are known "
        f"({cold['packedMib']:.1f} MiB packed)"
    )


def _starts(result: Result) -> str:
    found = [(f, "active") for f in result["active"]] + [(result["finished"], "finished")]
    return ", ".join(
        f"{f['coldStart']['seconds']:g} s with {f['runs']:,} {kind} runs" for f, kind in found
    )
