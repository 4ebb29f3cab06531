"""Who plays scheduler and kubelets on a real API server: nothing but status of pods and nodes.

Every pod is bound to a node, told to run, asked what it does (`Part.script`), and ended with the
exit code and termination message of that; one that is deleted gets its SIGTERM and goes. A pod on a
node that is dead stays as it is. Each pod has an address of its own in 127.0.0.0/8, where rank 0
serves its progress.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from acereason_operator.cluster import labels
from acereason_operator.cluster.api_server import path_of
from acereason_operator.cluster.protocol import NODE, POD, Kind, Object
from acereason_trainer.config.stage_file import Progress, ResultRecord
from aiohttp import web
from fake_controllers import ENDED, End, text_of
from scenarios.live_api import STRATEGIC, LiveApi, Refusal


@dataclass(frozen=True)
class Waits:
    """A pod that does not start."""

    reason: str
    """Of a container that waits; `Unschedulable`: of the pod, which then gets no node."""
    message: str


@dataclass(frozen=True)
class InitFails:
    """A pod whose init container ends with an error."""

    code: int
    message: str


def _loopback() -> Iterator[str]:
    """Addresses of this machine, each once."""
    for number in range(2**16):
        yield f"127.20.{number // 250}.{number % 250 + 1}"


class Part:
    """What befalls the pods of one namespace. A scenario sets it, and may change it any time."""

    def __init__(self, script: Callable[[Object], End | None]) -> None:
        self.script = script
        """What a running pod does now: ends, or goes on (None)."""
        self.starts: Callable[[Object], Waits | InitFails | None] = lambda pod: None
        """Why a pod does not start."""
        self.on_stop: Callable[[Object], End] = stopped
        """What a container does on SIGTERM."""
        self.dead: set[str] = set()
        """Nodes that are silent."""
        self.progress: dict[str, Progress] = {}
        """What rank 0 of a stage answers, by the stage's name."""


def stopped(pod: Object) -> End:
    """A container that ends as the launcher does on SIGTERM."""
    if pod["metadata"]["labels"].get(labels.PHASE) == "prepare":
        return End(143)
    return End(143, text_of(ResultRecord(exit_code=143, reason="Stopped", message="stopped")))


@dataclass
class Kubelets:
    """Plays for all namespaces that have a part."""

    api: LiveApi
    parts: dict[str, Part] = field(default_factory=dict)
    port: int = 0
    """Where rank 0 of every pod serves, at the pod's own address."""
    failures: list[BaseException] = field(default_factory=list)
    _busy: dict[tuple[str, str], bool] = field(default_factory=dict)
    """Pods that somebody looks at; True: once more after that."""
    _taken: dict[str, set[str]] = field(default_factory=dict)
    """Nodes that pods of a Job were bound to."""
    _ended: set[str] = field(default_factory=set)
    """Pods, by uid."""
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    _addresses: Iterator[str] = field(default_factory=_loopback)
    _server: web.AppRunner | None = None

    async def __aenter__(self) -> "Kubelets":
        app = web.Application()
        app.router.add_get("/progress", self._serve_progress)
        self._server = web.AppRunner(app)
        await self._server.setup()
        site = web.TCPSite(self._server, "0.0.0.0", 0)
        await site.start()
        self.port = self._server.addresses[0][1]
        self.api.listeners.append(self._hear)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.api.listeners.remove(self._hear)
        await asyncio.gather(*self._tasks)
        assert self._server is not None
        await self._server.cleanup()
        if self.failures:
            raise self.failures[0]

    def look_again(self, namespace: str) -> None:
        """A part has changed."""
        for name, pod in list(self.api.objects[POD].items()):
            if name[0] == namespace:
                self._hear(POD, "MODIFIED", pod)

    async def make_node(self, name: str) -> None:
        """A node that is Ready; one that is there is left as it is."""
        try:
            await self.api.call("POST", path_of(NODE, None), {"metadata": {"name": name}})
        except Refusal as refusal:
            if refusal.status != 409:
                raise
            return
        await self.node_is(name, "True")

    async def node_is(self, name: str, ready: str) -> None:
        """A node's Ready condition."""
        status = _condition("Ready", ready, "KubeletReady" if ready == "True" else "NodeStatus")
        path = f"{path_of(NODE, None, name)}/status"
        await self.api.call("PATCH", path, {"status": {"conditions": [status]}}, STRATEGIC)

    async def end(self, pod: Object, end: End) -> None:
        """A pod's container ends, once: the watch may not have told of it yet."""
        if pod["metadata"]["uid"] in self._ended:
            return
        self._ended.add(pod["metadata"]["uid"])
        reason = end.reason or ("Error" if end.code else "Completed")
        since = pod["status"].get("startTime") or now()
        ended = {"exitCode": end.code, "reason": reason, "startedAt": since, "finishedAt": now()}
        if end.message:
            ended["message"] = end.message
        phase = "Failed" if end.code else "Succeeded"
        await self.status(
            pod,
            phase=phase,
            containerStatuses=_containers(pod, {"terminated": ended}),
            conditions=[_condition("Ready", "False", f"Pod{phase}")],
        )

    async def status(self, pod: Object, **status: Any) -> None:
        """Patch a pod's status. One that is gone is left alone."""
        meta = pod["metadata"]
        path = f"{path_of(POD, meta['namespace'], meta['name'])}/status"
        body = {"metadata": {"uid": meta["uid"]}, "status": status}
        await self._unless_gone(self.api.call("PATCH", path, body, STRATEGIC))

    async def delete(self, pod: Object, grace: int | None = None) -> None:
        """Delete a pod; grace 0: it is gone."""
        meta = pod["metadata"]
        path = path_of(POD, meta["namespace"], meta["name"])
        options: Object = {"preconditions": {"uid": meta["uid"]}}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        await self._unless_gone(self.api.call("DELETE", path, options))

    def _hear(self, kind: Kind, type_: str, body: Object) -> None:
        name = body["metadata"]["namespace"], body["metadata"]["name"]
        ours = labels.MANAGED_BY in (body["metadata"].get("labels") or {})
        if kind != POD or type_ == "DELETED" or name[0] not in self.parts or not ours:
            return
        if name in self._busy:
            self._busy[name] = True
            return
        self._busy[name] = False
        task = asyncio.create_task(self._care(name))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _care(self, name: tuple[str, str]) -> None:
        try:
            again = True
            while again:
                pod = self.api.objects[POD].get(name)
                if pod is not None:
                    await self._look(pod, self.parts[name[0]])
                again, self._busy[name] = self._busy[name], False
        except Exception as failure:  # noqa: BLE001 shown when the play ends
            self.failures.append(failure)
        finally:
            del self._busy[name]

    async def _look(self, pod: Object, part: Part) -> None:
        """One step of a pod's life."""
        node = pod["spec"].get("nodeName")
        phase, deleted = pod["status"].get("phase"), "deletionTimestamp" in pod["metadata"]
        if node in part.dead:
            return
        if phase in ENDED:
            if deleted and not _held(pod):
                await self.delete(pod, grace=0)
        elif deleted:
            if node:
                await self.end(pod, part.on_stop(pod) if phase == "Running" else End(137))
        elif phase == "Pending":
            await self._start(pod, part)
        elif (end := part.script(pod)) is not None:
            await self.end(pod, end)

    async def _start(self, pod: Object, part: Part) -> None:
        why = part.starts(pod)
        if isinstance(why, Waits) and why.reason == "Unschedulable":
            said = _condition("PodScheduled", "False", why.reason, why.message)
            if not _says(pod, why.message):
                await self.status(pod, conditions=[said])
            return
        if not pod["spec"].get("nodeName"):
            await self._bind(pod, part)
            return
        if isinstance(why, Waits):
            waiting = {"reason": why.reason, "message": why.message}
            if not _says(pod, why.message):
                await self.status(pod, containerStatuses=_containers(pod, {"waiting": waiting}))
        elif isinstance(why, InitFails):
            ended = {"exitCode": why.code, "reason": "Error", "message": why.message}
            ended |= {"startedAt": now(), "finishedAt": now()}
            await self.status(
                pod,
                phase="Failed",
                initContainerStatuses=_containers(pod, {"terminated": ended}, "initContainers"),
            )
        else:
            address = next(self._addresses)
            await self.status(
                pod,
                phase="Running",
                startTime=now(),
                podIP=address,
                podIPs=[{"ip": address}],
                containerStatuses=_containers(pod, {"running": {"startedAt": now()}}),
                conditions=[_condition("Ready", "True")],
            )

    async def _bind(self, pod: Object, part: Part) -> None:
        """To the first node of its namespace that is alive and has no other pod of its Job."""
        meta = pod["metadata"]
        taken = self._taken.setdefault(meta["labels"][labels.JOB_NAME] + meta["namespace"], set())
        names = (f"{meta['namespace']}-{i}" for i in range(100))
        node = next(name for name in names if name not in taken | part.dead)
        taken.add(node)
        await self.make_node(node)
        path = f"{path_of(POD, meta['namespace'], meta['name'])}/binding"
        body = {"metadata": {"name": meta["name"]}, "target": {"kind": "Node", "name": node}}
        await self._unless_gone(self.api.call("POST", path, body))

    async def _unless_gone(self, call: Awaitable[Any]) -> None:
        try:
            await call
        except Refusal as refusal:
            if refusal.status not in (404, 409):
                raise

    async def _serve_progress(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        address = request.transport.get_extra_info("sockname")[0]
        for (namespace, _), pod in self.api.objects[POD].items():
            if pod["status"].get("podIP") == address and namespace in self.parts:
                stage = pod["metadata"]["labels"][labels.STAGE]
                said = self.parts[namespace].progress.get(stage)
                if said is not None:
                    return web.json_response(said.dump())
        raise web.HTTPNotFound


def now() -> str:
    """As a kubelet writes times."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(type_: str, status: str = "True", reason: str = "", message: str = "") -> Object:
    """A condition of a pod or a node."""
    return _condition(type_, status, reason, message)


def _condition(type_: str, status: str, reason: str = "", message: str = "") -> Object:
    return {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": now(),
    }


def _containers(pod: Object, state: Object, kind: str = "containers") -> list[Object]:
    return [
        {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "ready": "running" in state,
            "restartCount": 0,
            "state": state,
        }
        for container in pod["spec"][kind]
    ]


def _says(pod: Object, message: str) -> bool:
    """Whether a pod's status says that already."""
    return message in str(pod["status"])


def _held(pod: Object) -> bool:
    """Whether somebody other than the Job controller keeps a pod from going."""
    return any("job-tracking" not in name for name in pod["metadata"].get("finalizers", []))
