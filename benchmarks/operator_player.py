"""Who plays the kubelets for the operator's benchmark: patches the status of pods, and no more.

A pod runs as soon as it is seen. It ends when `end_one` is called: the one that has run longest
goes first, so that the ends wander over all runs. Every arrival of a watch that matters is noted
with its time: a pod's end, and the Job of the same run that follows it.
"""

import asyncio
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from time import monotonic
from typing import Any

from acereason_operator.cluster import labels
from acereason_operator.cluster.api_server import path_of
from acereason_operator.cluster.protocol import JOB, POD, Kind, Object
from acereason_trainer.config.stage_file import OUTPUT_KIND
from aiohttp import web

from benchmarks.operator_cluster import MERGE, Cluster, Refusal

STEP_SECONDS = 20.0
"""A stage's step takes that long: what rank 0 of every stage serves as its progress."""


def _loopback() -> Iterator[str]:
    """Addresses of this machine, all of them and again from the start."""
    while True:
        for number in range(250 * 250):
            yield f"127.20.{number // 250}.{number % 250 + 1}"


@dataclass
class Player:
    """Plays in one namespace. Use with `async with`."""

    cluster: Cluster
    namespace: str
    running: deque[Object] = field(default_factory=deque)
    """Pods that can be ended, the oldest first."""
    waits: list[float] = field(default_factory=list)
    """Seconds from the arrival of a pod's end to that of its run's next Job."""
    jobs_made: int = 0
    pods_ended: int = 0
    missed: int = 0
    """Ends that were due while no pod ran."""
    serves_progress: bool = False
    port: int = 0
    """Where rank 0 of every pod serves, at the pod's own address."""
    _started: set[str] = field(default_factory=set)
    _done_at: dict[str, float] = field(default_factory=dict)
    """By run: when the end of its pod arrived."""
    _tasks: "set[asyncio.Task[Any]]" = field(default_factory=set)
    _watches: "list[asyncio.Task[None]]" = field(default_factory=list)
    _addresses: Iterator[str] = field(default_factory=_loopback)
    _server: web.AppRunner | None = None

    async def __aenter__(self) -> "Player":
        app = web.Application()
        app.router.add_get("/progress", self._serve_progress)
        self._server = web.AppRunner(app, access_log=None)
        await self._server.setup()
        await web.TCPSite(self._server, "0.0.0.0", 0).start()
        self.port = self._server.addresses[0][1]
        self._watches = [
            asyncio.create_task(self._watch(kind), name=f"watch of {kind.plural}")
            for kind in (POD, JOB)
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (*self._watches, *self._tasks):
            task.cancel()
        await asyncio.gather(*self._watches, *self._tasks, return_exceptions=True)
        assert self._server is not None
        await self._server.cleanup()

    def check(self) -> None:
        """Raise what a watch ended with."""
        for watch in self._watches:
            if watch.done():
                watch.result()
                raise RuntimeError(f"the {watch.get_name()} has ended")

    def end_one(self) -> None:
        """The pod that has run longest does its work and ends."""
        if self.running:
            self._spawn(self._end(self.running.popleft()))
        else:
            self.missed += 1

    async def pace(self, rate: float, seconds: float) -> None:
        """End so many pods a second, whatever the operator makes of it (an open loop)."""
        began = monotonic()
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(began + number / rate - monotonic(), 0))
            self.end_one()
            self.check()

    async def _watch(self, kind: Kind) -> None:
        take = self._take_pod if kind == POD else self._take_job
        async for type_, body in self.cluster.watch(kind, path_of(kind, self.namespace)):
            take(type_, body)

    def _take_job(self, type_: str, job: Object) -> None:
        if type_ != "ADDED":
            return
        self.jobs_made += 1
        done_at = self._done_at.pop(job["metadata"]["labels"][labels.RUN], None)
        if done_at is not None:
            self.waits.append(monotonic() - done_at)

    def _take_pod(self, type_: str, pod: Object) -> None:
        uid, phase = pod["metadata"]["uid"], pod["status"].get("phase")
        if type_ == "DELETED" or "deletionTimestamp" in pod["metadata"]:
            self._started.discard(uid)
        elif phase == "Pending" and uid not in self._started:
            self._started.add(uid)
            self._spawn(self._start(pod))
        elif phase == "Succeeded" and uid in self._started:
            self._started.discard(uid)
            self._done_at[pod["metadata"]["labels"][labels.RUN]] = monotonic()
            self.pods_ended += 1

    async def _start(self, pod: Object) -> None:
        address, since = next(self._addresses), _now()
        status = {
            "phase": "Running",
            "startTime": since,
            "podIP": address,
            "podIPs": [{"ip": address}],
            "containerStatuses": _containers(pod, {"running": {"startedAt": since}}),
        }
        if await self._patch(pod, status):
            self.running.append(pod)

    async def _end(self, pod: Object) -> None:
        ended = {"exitCode": 0, "reason": "Completed", "startedAt": _now(), "finishedAt": _now()}
        ended["message"] = record_of(pod)
        state = {"terminated": ended}
        await self._patch(pod, {"phase": "Succeeded", "containerStatuses": _containers(pod, state)})

    async def _patch(self, pod: Object, status: Object) -> bool:
        """Patch a pod's status; whether it was still there."""
        path = f"{path_of(POD, self.namespace, pod['metadata']['name'])}/status"
        try:
            await self.cluster.call("PATCH", path, {"status": status}, MERGE)
        except Refusal as refusal:
            if refusal.status != 404:
                raise
            return False
        return True

    def _spawn(self, what: Any) -> None:
        task = asyncio.create_task(what)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.result()

    async def _serve_progress(self, request: web.Request) -> web.Response:
        if not self.serves_progress:
            raise web.HTTPNotFound
        assert request.transport is not None
        address: str = request.transport.get_extra_info("sockname")[0]
        offset = int(sha256(address.encode()).hexdigest()[:8], 16) % STEP_SECONDS
        step = int((monotonic() + offset) / STEP_SECONDS)
        return web.json_response({"step": step, "total": step + 1000})


def record_of(pod: Object) -> str:
    """What a pod leaves as its termination message: work that went well.

    As prepare and launcher write it (the trainer's PrepareRecord and ResultRecord), made without
    parsing the stage file into models. Every run gets keys of its own: nothing is shared.
    """
    text = pod["metadata"]["annotations"][labels.STAGE_FILE]
    file = json.loads(text)
    if pod["metadata"]["labels"][labels.PHASE] == "prepare":
        kind = next(name for name in OUTPUT_KIND if name in file["settings"])
        inputs = {name: _found(file["inputs"][name]) for name in ("model", "data")
                  if name in file["inputs"]}  # fmt: skip
        record = {"exitCode": 0, "key": f"{kind}-{_hex(text)[:32]}", "inputs": inputs}
    else:
        key: str = file["prepared"]["key"]
        made = {
            "uri": f"artifacts/{key}",
            "digest": f"sha256:{_hex(key)}",
            "bytes": 7,
            "kind": OUTPUT_KIND[key.partition("-")[0]],
        }
        record = {"exitCode": 0, "step": 10, "artifact": made}
    return json.dumps(record)


def _found(source: Object) -> Object:
    if "artifact" in source:
        artifact: Object = source["artifact"]
        return artifact
    name = _hex(json.dumps(source, sort_keys=True))
    return {"uri": f"artifacts/data-{name[:32]}", "digest": f"sha256:{name}"}


def _containers(pod: Object, state: Object) -> list[Object]:
    return [
        {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "ready": "running" in state,
            "restartCount": 0,
            "state": state,
        }
        for container in pod["spec"]["containers"]
    ]


def _hex(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
