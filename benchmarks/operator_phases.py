"""What the operator's benchmark does, one measurement after the other.

Each leaves the namespace as empty as it found it, and each that reads memory starts an operator
anew: a process that has had a thousand runs holds more than one that has found them.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acereason_operator.cluster.api_server import path_of
from acereason_operator.cluster.protocol import JOB, POD, RUN, Object

from benchmarks.operator_cluster import Cluster
from benchmarks.operator_figures import growth, of_histogram, per_run, percentiles, requests_between
from benchmarks.operator_load import Load
from benchmarks.operator_player import Player
from benchmarks.operator_process import OperatorProcess, Reading
from tests.controlplane import marked_processes
from tests.controlplane.control_plane import Account, ControlPlane

PATIENCE = 900.0
SETTLES = 15.0
"""Seconds in which whatever a measurement has set off comes to its end."""
QUIET = 20.0
"""Seconds in which finished and suspended runs must cost nothing."""
SUSPENDED = 10
CHURNING = 30
"""Runs at a time while they come and go."""
AT_ONCE = 16
"""Requests under way when many runs are made."""
FAST = ("--writes-per-second", "1000", "--write-burst", "1000")
"""For an operator that prepares a measurement and is not measured."""
STAGES: list[dict[str, Any]] = [
    {"name": "prompts", "curate": {}, "inputs": {"data": {"path": "rows.jsonl"}}},
    {"name": "sft", "sft": {}},
    {"name": "math", "mathRL": {}, "inputs": {"data": {"stage": "prompts"}}},
    {"name": "eval", "evaluate": {"sets": [{"name": "aime", "file": "aime.jsonl"}]}},
]


@dataclass(frozen=True)
class Sizes:
    """How much is measured. The defaults should take 15 minutes on 2 quiet cores."""

    whole: int = 100
    active: tuple[int, ...] = (300, 1000)
    finished: int = 300
    rate: float = 9.0
    seconds: float = 60.0
    churn: float = 3600.0


@dataclass
class Bench:
    """Everything that takes part. Measurements start and end operators; `kill_all` at the end."""

    control_plane: ControlPlane
    account: Account
    home: str
    """The operator's own namespace."""
    cluster: Cluster
    player: Player
    namespace: str
    sizes: Sizes
    logs: Path
    _operators: list[OperatorProcess] = field(default_factory=list)
    _made: int = 0

    def described(self) -> dict[str, Any]:
        """The control plane: its versions and flags."""
        version = self.control_plane.request("GET", "/version")
        return {
            "kubernetes": version["gitVersion"],
            "flags": {
                program: [word for word in self._command(program) if _tells(word)]
                for program in ("kube-apiserver", "kube-controller-manager", "etcd")
            },
        }

    def kill_all(self) -> None:
        """No operator outlives the benchmark."""
        for operator in self._operators:
            operator.kill()

    # The measurements

    async def idle(self) -> dict[str, Any]:
        """Memory without runs."""
        async with self._an_operator() as operator:
            await asyncio.sleep(SETTLES)
            return {"residentMib": round(operator.resident_mib(), 1)}

    async def whole_runs(self) -> dict[str, Any]:
        """Runs from their start to their end: what each asks of the API server; then silence."""
        runs = self.sizes.whole
        async with self._an_operator() as operator:
            await self._create(SUSPENDED, suspend=True)
            await self._until(lambda r: r.runs["Suspended"] == SUSPENDED, operator)
            await asyncio.sleep(SETTLES)
            before, jobs = await _read(operator), self.player.jobs_made
            await self._create(runs)
            await self._all_run(runs)
            with self._window(operator) as window:
                while (await _read(operator)).runs["Complete"] < runs:
                    await self.player.pace(self.sizes.rate, 2.0)
            await asyncio.sleep(SETTLES)
            after = await _read(operator)
            await asyncio.sleep(QUIET)
            quiet = await _read(operator)
        jobs = self.player.jobs_made - jobs
        found = {
            "runs": runs,
            "perRun": per_run(before.requests, after.requests, runs, jobs),
            "quiet": {
                "seconds": QUIET,
                "finished": runs,
                "suspended": SUSPENDED,
                "requests": requests_between(after.requests, quiet.requests),
            },
            **window.found,
        }
        await self._delete_all()
        return found

    async def active(self) -> list[dict[str, Any]]:
        """At each number of active runs: latency, cost, memory, a cold start; then a failover."""
        found: list[dict[str, Any]] = []
        operator = await self._start()
        for runs in self.sizes.active:
            self.player.serves_progress = False
            await self._create(runs - (found[-1]["runs"] if found else 0))
            await self._all_run(runs)
            self.player.serves_progress = True
            await asyncio.sleep(SETTLES)
            with self._window(operator) as window:
                await self.player.pace(self.sizes.rate, self.sizes.seconds)
            await self._end(operator)
            operator = await self._start(ready=False)
            cold = await self._cold_start(operator, runs)
            found.append(
                {
                    "runs": runs,
                    **window.found,
                    "coldStart": cold,
                }
            )
            print(found[-1], flush=True)
        found[-1]["failover"] = await self._failover(operator)
        await self._delete_all()
        return found

    async def finished(self) -> dict[str, Any]:
        """Memory with finished runs whose Jobs and pods are still there."""
        runs = self.sizes.finished
        async with self._an_operator(*FAST) as operator:
            await self._create(runs)
            while (await _read(operator)).runs["Complete"] < runs:
                self.player.check()
                for _ in range(min(AT_ONCE, len(self.player.running))):
                    self.player.end_one()
                await asyncio.sleep(0.2)
        operator = await self._start(ready=False)
        cold = await self._cold_start(operator, runs)
        await self._end(operator)
        await self._delete_all()
        return {"runs": runs, "coldStart": cold}

    async def churned(self) -> dict[str, Any]:
        """Memory while runs are created, finished and deleted."""
        readings: list[float] = []
        gone = 0
        async with self._an_operator() as operator:
            await self._create(CHURNING)
            await self._all_run(CHURNING)
            pace = asyncio.create_task(self.player.pace(self.sizes.rate, self.sizes.churn))
            while not pace.done():
                gone += await self._replace_finished()
                readings.append(operator.resident_mib())
                await asyncio.sleep(1.0)
            await pace
        await self._delete_all()
        return {
            "seconds": self.sizes.churn,
            "runsAtATime": CHURNING,
            "runsGone": gone,
            "residentMib": {
                "start": round(readings[0], 1),
                "middle": round(readings[len(readings) // 2], 1),
                "end": round(readings[-1], 1),
            },
            "growthMib": round(growth(readings), 2),
        }

    # Parts of them

    async def _cold_start(self, operator: OperatorProcess, runs: int) -> dict[str, Any]:
        """From the process's start until every run was reconciled once; and what it holds then."""
        await self._until(lambda r: r.leads and r.reconciles >= runs, operator, every=0.05)
        seconds = time.monotonic() - operator.started_at
        await asyncio.sleep(SETTLES)
        then = await _read(operator)
        return {
            "seconds": round(seconds, 1),
            "residentMib": round(operator.resident_mib(), 1),
            "objects": {kind: int(n) for kind, n in then.cached.items()},
            "packedMib": round(then.cached_bytes / 2**20, 2),
            "cpuSeconds": round(then.cpu_seconds, 1),
        }

    async def _failover(self, leader: OperatorProcess) -> dict[str, Any]:
        """kill -9 of the leader while pods end and a second replica waits."""
        second = await self._start(leads=False)
        self.player.waits.clear()
        pace = asyncio.create_task(self.player.pace(self.sizes.rate, 60.0))
        await asyncio.sleep(5.0)
        leader.kill()
        self._operators.remove(leader)
        killed = time.monotonic()
        await self._until(lambda r: r.leads, second, every=0.05)
        leads, jobs = time.monotonic() - killed, self.player.jobs_made
        while self.player.jobs_made == jobs:
            await asyncio.sleep(0.01)
            self.player.check()
            if pace.done():
                raise RuntimeError("no Job was made after the failover; try: more --active runs")
        first_job = time.monotonic() - killed
        await pace
        await self._end(second)
        return {
            "leadsAfterSeconds": round(leads, 1),
            "nextJobAfterSeconds": round(first_job, 1),
            "longestWaitSeconds": round(max(self.player.waits), 1),
        }

    def _window(self, operator: OperatorProcess) -> "_Window":
        return _Window(operator, self.player, Load(self.control_plane))

    @asynccontextmanager
    async def _an_operator(self, *words: str) -> Any:
        operator = await self._start(*words)
        yield operator
        await self._end(operator)

    async def _start(self, *words: str, leads: bool = True, ready: bool = True) -> OperatorProcess:
        """A replica; it is ready unless `ready` is false, and leads unless `leads` is."""
        log = self.logs / f"operator-{time.strftime('%H%M%S')}-{len(self._operators)}.log"
        operator = OperatorProcess(self.account, self.home, log, self.player.port, *words)
        self._operators.append(operator)
        if ready:
            await self._until(lambda r: (r.leads or not leads) and operator.is_ready(), operator)
        return operator

    async def _end(self, operator: OperatorProcess) -> None:
        await asyncio.to_thread(operator.end)
        self._operators.remove(operator)

    async def _create(self, runs: int, **spec: Any) -> None:
        names = iter(range(self._made, self._made + runs))
        self._made += runs

        async def creator() -> None:
            for number in names:
                await self.cluster.call("POST", self._runs, run_body(f"run-{number:05}", **spec))

        await asyncio.gather(*(creator() for _ in range(AT_ONCE)))

    async def _all_run(self, runs: int) -> None:
        """Return once every run has a pod that runs."""
        end = time.monotonic() + PATIENCE
        while len(self.player.running) < runs:
            self.player.check()
            if time.monotonic() > end:
                raise TimeoutError(f"{len(self.player.running)} of {runs} runs have a pod")
            await asyncio.sleep(0.2)

    async def _until(
        self, holds: Callable[[Reading], bool], operator: OperatorProcess, every: float = 0.5
    ) -> None:
        end = time.monotonic() + PATIENCE
        while (said := await asyncio.to_thread(operator.read)) is None or not holds(said):
            self.player.check()
            if time.monotonic() > end:
                raise TimeoutError(f"it did not happen: {said}")
            await asyncio.sleep(every)

    async def _replace_finished(self) -> int:
        """Delete the runs that are done, and make as many; how many."""
        listed = await self.cluster.everything(self._runs)
        done = [
            run["metadata"]["name"]
            for run in listed
            if run.get("status", {}).get("state") == "Complete"
        ]
        for name in done:
            await self.cluster.call("DELETE", f"{self._runs}/{name}?propagationPolicy=Background")
        await self._create(len(done))
        return len(done)

    async def _delete_all(self) -> None:
        """Runs, and with them all that is theirs."""
        self.player.serves_progress = False
        self.player.running.clear()
        await self.cluster.call("DELETE", f"{self._runs}?propagationPolicy=Background")
        end = time.monotonic() + PATIENCE
        path = path_of(JOB, self.namespace), path_of(POD, self.namespace)
        while [p for p in path if (await self.cluster.call("GET", f"{p}?limit=1"))["items"]]:
            if time.monotonic() > end:
                raise TimeoutError("what belongs to deleted runs is not collected")
            await asyncio.sleep(1.0)

    def _command(self, program: str) -> list[str]:
        """Words with which a program of the control plane was started, its name left out."""
        (pid,) = marked_processes.alive(f"{self.control_plane.folder}/{program}")
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[1:-1]

    @property
    def _runs(self) -> str:
        return path_of(RUN, self.namespace)


class _Window:
    """A piece of time, and what happened in it. Use with `with`, then read `found`."""

    def __init__(self, operator: OperatorProcess, player: Player, load: Load) -> None:
        self.found: dict[str, Any] = {}
        self._operator, self._player, self._load = operator, player, load

    def __enter__(self) -> "_Window":
        self._player.waits.clear()
        self._ended, self._missed = self._player.pods_ended, self._player.missed
        self._before, self._at = self._operator.read(), time.monotonic()
        self._load.start()
        return self

    def __exit__(self, *_: object) -> None:
        before, after = self._before, self._operator.read()
        assert before is not None and after is not None
        seconds, ended = time.monotonic() - self._at, self._player.pods_ended - self._ended
        cpu = after.cpu_seconds - before.cpu_seconds
        self.found = {
            "seconds": round(seconds, 1),
            "ends": ended,
            "endsDueWithoutAPod": self._player.missed - self._missed,
            "podEndToNextJobMs": percentiles(self._player.waits),
            "queueWaitMs": of_histogram(before.queue_wait, after.queue_wait),
            "workMs": of_histogram(before.work, after.work),
            "reconciles": int(after.reconciles - before.reconciles),
            "progressReadsPerSecond": round(
                (after.progress_reads - before.progress_reads) / seconds, 1
            ),
            "cpuSecondsPerStage": round(2 * cpu / ended, 4),
            "residentMib": round(self._operator.resident_mib(), 1),
            "coresInUse": self._load.cores(cpu),
        }


def run_body(name: str, **spec: Any) -> Object:
    """A run of four stages."""
    return {
        "apiVersion": RUN.api_version,
        "kind": RUN.kind,
        "metadata": {"name": name},
        "spec": {
            "model": {"path": "models/base"},
            "storage": {"claim": "runs"},
            "defaults": {"gpusPerNode": 8, "resources": {"requests": {"cpu": 64}}},
            "stages": STAGES,
            **spec,
        },
    }


async def _read(operator: OperatorProcess) -> Reading:
    said = await asyncio.to_thread(operator.read)
    if said is None:
        raise RuntimeError("the operator does not answer")
    return said


def _tells(word: str) -> bool:
    """Whether a flag says something: neither a path nor an address of this machine."""
    return not any(part in word for part in ("/", "127.0.0.1", "port="))
