"""A whole operator on the fake cluster, in time that jumps: no watch of Kopf's, all else real."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acereason_operator.api.status import RunStatus, StageStatus
from acereason_operator.cluster.protocol import JOB, POD, RUN, Object
from acereason_operator.runtime.metrics import Metrics
from acereason_operator.runtime.operator import Operator
from acereason_operator.runtime.settings import Settings
from fake_cluster import Event, FakeCluster
from fake_controllers import Controllers, FakeStore
from jumping_time import clock
from rendering_builders import run_body

FOUR_STAGES: list[dict[str, Any]] = [
    {"name": "prompts", "curate": {}, "inputs": {"data": {"path": "rows.jsonl"}}},
    {"name": "sft", "sft": {}},
    {"name": "math", "mathRL": {}, "inputs": {"data": {"stage": "prompts"}}},
    {"name": "eval", "evaluate": {"sets": [{"name": "aime", "file": "aime.jsonl"}]}},
]


def some_settings(**more: Any) -> Settings:
    """Settings of a test."""
    return Settings(
        **{
            "trainer_image": "trainer:1",
            "prepare_image": "operator:1",
            "probe_port": 0,
            "probe_host": "127.0.0.1",
            **more,
        }
    )


def a_kubeconfig(folder: Path, server: str) -> Path:
    """A kubeconfig file for a server that asks for no credentials."""
    file = folder / "kubeconfig"
    text = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {}}],
    }
    file.write_text(json.dumps(text))
    return file


@dataclass
class World:
    """A cluster with its controllers, and what a test looks at."""

    cluster: FakeCluster
    controllers: Controllers
    store: FakeStore
    operators: list[Operator]

    @property
    def operator(self) -> Operator:
        """The first one."""
        return self.operators[0]

    def apply(self, name: str = "r", **spec: Any) -> None:
        """A person creates a run."""
        self.cluster.put(RUN, run_body(name, **{"stages": FOUR_STAGES, **spec}))

    def status(self, name: str = "r") -> RunStatus:
        """A run's status."""
        return RunStatus.parse(self.cluster.one(RUN, "default", name).get("status") or {})

    def stage(self, stage: str, name: str = "r") -> StageStatus:
        """A stage's status; as it is before the first visit where nothing is written yet."""
        found = (s for s in self.status(name).stages if s.name == stage)
        return next(found, StageStatus(name=stage))

    def edit(self, change: Callable[[Object], None], name: str = "r") -> None:
        """A person edits a run."""
        self.cluster.edit(RUN, "default", name, change)

    async def until(
        self, holds: Callable[[], object], *, within: float = 3600.0, moving: bool = True
    ) -> None:
        """Let time pass until something holds; the cluster moves along, unless told not to."""
        loop = asyncio.get_running_loop()
        end, pause = loop.time() + within, 0.05
        while not holds():
            assert loop.time() < end, f"it did not happen: {self.told()}"
            moved = moving and self.controllers.step()
            pause = 0.05 if moved else min(2 * pause, 5.0)
            await asyncio.sleep(pause)

    async def pass_(self, seconds: float) -> None:
        """Let time pass, in which the cluster comes to rest."""
        self.controllers.settle()
        await asyncio.sleep(seconds / 2)
        self.controllers.settle()
        await asyncio.sleep(seconds / 2)

    def told(self) -> str:
        """For a test's failure: how things stand."""
        runs = {
            body["metadata"]["name"]: {
                s["name"]: (s["state"], s["message"])
                for s in body.get("status", {}).get("stages", [])
            }
            for body in self.cluster.all(RUN)
        }
        jobs = [body["metadata"]["name"] for body in self.cluster.all(JOB)]
        pods = [(b["metadata"]["name"], b["status"]["phase"]) for b in self.cluster.all(POD)]
        return f"{runs} {jobs} {pods}"


@asynccontextmanager
async def a_world(replicas: int = 1, **settings: Any) -> AsyncIterator[World]:
    """A cluster and operators that run against it, fed by its watch events."""
    cluster, store = FakeCluster(clock), FakeStore()
    world = World(cluster, Controllers(cluster, store.work), store, [])
    try:
        for i in range(replicas):
            world.operators.append(await an_operator(cluster, f"replica-{i}", **settings))
        yield world
    finally:
        for operator in world.operators:
            await operator.stop()


async def an_operator(cluster: FakeCluster, identity: str, **settings: Any) -> Operator:
    """An operator that has started."""
    operator = Operator(
        some_settings(**settings),
        cluster,
        cluster,
        identity=identity,
        lease_namespace="default",
        metrics=Metrics(),
        now=clock,
    )
    cluster.watchers.append(lambda event: feed(operator, event))
    await operator.start()
    return operator


def feed(operator: Operator, event: Event) -> None:
    """A watch event as `watching.py` hands it on."""
    if event.kind not in (RUN, JOB, POD):
        return
    operator.hear(event.kind, event.type, event.object)
