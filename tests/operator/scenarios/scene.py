"""One namespace of a live cluster, and what a scenario does and sees in it.

Prepare pods do their work at once; so do train pods, but those of a stage in `hold`, which run
until the scenario ends them.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from acereason_operator.api.status import RunStatus, StageStatus
from acereason_operator.cluster import labels
from acereason_operator.cluster.api_server import path_of
from acereason_operator.cluster.protocol import EVENT, JOB, POD, RUN, Object
from acereason_operator.planner.status import is_true
from acereason_trainer.config.stage_file import ResultRecord, ResumeState
from fake_controllers import End, FakeStore, index_of, stage_file_of, text_of
from rendering_builders import run_body
from scenarios import audit
from scenarios.kubelets import Kubelets, Part
from scenarios.live_api import MERGE, LiveApi

from tests.waiting import PATIENCE

TRAINS: dict[str, Any] = {"name": "train", "sft": {}, "inputs": {"data": {"path": "rows.jsonl"}}}
"""A stage that trains on one node."""
STRICT = "?fieldValidation=Strict"
"""As kubectl asks for: a misspelt field is refused, not dropped."""
TWO_NODES = {**TRAINS, "nodes": 2}
AFTER_THE_LAST = timedelta(seconds=1.5)
"""Without a request of the operator's: what belongs to a decision is done."""


class NotYet(AssertionError):
    """What a scenario waited for did not happen."""


@dataclass
class Scene:
    """A namespace with what happens in it."""

    namespace: str
    api: LiveApi
    kubelets: Kubelets
    audited: Path
    """Folder of the API server's audit log."""
    store: FakeStore = field(default_factory=FakeStore)
    states: dict[str, ResumeState] = field(default_factory=dict)
    """Trainer states, by stage key: what prepare finds to go on from."""
    hold: set[str] = field(default_factory=set)
    """Stages whose train pods run until they are told to end."""
    shown: dict[str, str] = field(default_factory=dict)
    """What people see, by a name."""
    quiet: list[tuple[datetime, datetime]] = field(default_factory=list)
    """Times in which the operator had nothing to do here."""

    def __post_init__(self) -> None:
        self.part = Part(self.script)
        self.kubelets.parts[self.namespace] = self.part

    # What a scenario does

    def script(self, pod: Object) -> End | None:
        """What a running pod does: see the module."""
        if phase_of(pod) == "prepare":
            return self.prepares(pod)
        return None if stage_of(pod) in self.hold else self.store.work(pod)

    def prepares(self, pod: Object, **more: Any) -> End:
        """Prepare finds what there is. more: further fields of its record."""
        record = self.store.prepare(stage_file_of(pod))
        resume = self.states.get(record.key or "")
        record = record.model_copy(update={"resume": resume, **more})
        return End(record.exit_code, text_of(record))

    async def apply(self, name: str = "r", **spec: Any) -> None:
        """A person makes a run, of one stage `train` unless told otherwise."""
        body = run_body(name, **{"stages": [TRAINS], **spec})
        body["metadata"]["namespace"] = self.namespace
        made = await self.api.call("POST", f"{path_of(RUN, self.namespace)}{STRICT}", body)
        seen, uid = self.api.objects[RUN], made["metadata"]["uid"]
        await self.until(lambda: uid in (run["metadata"]["uid"] for run in seen.values()))

    async def edit(self, change: Callable[[Object], None], name: str = "r") -> None:
        """A person edits the spec of a run: the change that it gets. Raises Refusal."""
        path = path_of(RUN, self.namespace, name)
        body = await self.api.call("GET", path)
        change(body["spec"])
        body["metadata"].pop("resourceVersion")
        await self.api.call("PATCH", path + STRICT, {"spec": body["spec"]}, MERGE)

    async def suspend(self) -> None:
        """A person holds the run back."""
        await self.edit(lambda spec: spec.update(suspend=True))

    async def go_on(self) -> None:
        """A person lets the run go on."""
        await self.edit(lambda spec: spec.update(suspend=False))

    async def patch_job(self, job: str, body: Object) -> None:
        """Somebody other than the operator changes a Job (a queue does)."""
        await self.api.call("PATCH", path_of(JOB, self.namespace, job), body, MERGE)

    async def end(self, pod: Object, code: int, **record: Any) -> None:
        """A train pod ends with a code, and with a result record if any of it is given."""
        message = text_of(ResultRecord(exit_code=code, **record)) if record else ""
        await self.kubelets.end(pod, End(code, message))

    def release(self, *stages: str) -> None:
        """Pods of these held stages do their work now."""
        self.hold -= set(stages)
        self.look_again()

    def look_again(self) -> None:
        """The part of this namespace has changed."""
        self.kubelets.look_again(self.namespace)

    def saves(self, pod: Object, step: int) -> ResumeState:
        """A stage has left a state under the key of the attempt that a pod is of."""
        prepared = stage_file_of(pod).prepared
        assert prepared is not None
        state = ResumeState(path=f"work/{step}", step=step, digest=f"sha256:{step:064x}")
        self.states[prepared.key] = state
        return state

    # What it sees

    def run(self, name: str = "r") -> Object:
        """A run as it is now."""
        return self.api.objects[RUN][self.namespace, name]

    def status(self, name: str = "r") -> RunStatus:
        """Its status; an empty one before the first visit."""
        return RunStatus.parse(self.run(name).get("status") or {})

    def stage(self, stage: str = "train", name: str = "r") -> StageStatus:
        """A stage's status."""
        found = (s for s in self.status(name).stages if s.name == stage)
        return next(found, StageStatus(name=stage))

    def is_(self, type_: Any, name: str = "r") -> bool:
        """Whether a condition of a run holds."""
        return is_true(self.status(name), type_)

    def jobs(self, stage: str = "", phase: str = "") -> list[Object]:
        """Jobs of this namespace, the oldest attempt first."""
        return sorted(
            (
                job
                for (namespace, _), job in self.api.objects[JOB].items()
                if namespace == self.namespace
                and labels.STAGE in (job["metadata"].get("labels") or {})
                and stage in ("", stage_of(job))
                and phase in ("", phase_of(job))
            ),
            key=lambda job: (attempt_of(job), phase_of(job)),
        )

    def pods(self, stage: str = "train", attempt: int = 0, phase: str = "train") -> list[Object]:
        """Pods of a stage, by attempt and index. attempt 0: of all attempts."""
        found = [
            pod
            for (namespace, _), pod in self.api.objects[POD].items()
            if namespace == self.namespace
            and (stage_of(pod), phase_of(pod)) == (stage, phase)
            and attempt in (0, attempt_of(pod))
        ]
        return sorted(found, key=lambda pod: (attempt_of(pod), index_of(pod)))

    async def until(self, holds: Callable[[], Any], within: float = 300.0) -> Any:
        """What a question answers, once that is true. Asked anew whenever something changes."""
        try:
            async with asyncio.timeout(within), self.api.changed:
                while not (found := holds()):
                    await self.api.changed.wait()
                return found
        except TimeoutError:
            raise NotYet(f"not within {within:g} s. {self.told()}") from None

    async def running(self, stage: str = "train", attempt: int = 1, pods: int = 1) -> list[Object]:
        """The pods of an attempt, by index, once all of them run."""

        def all_run() -> list[Object] | None:
            found = self.pods(stage, attempt)
            run = [pod for pod in found if pod["status"].get("phase") == "Running"]
            return found if len(run) == len(found) == pods else None

        found: list[Object] = await self.until(all_run)
        return found

    async def seen_running(
        self, stage: str = "train", attempt: int = 1, pods: int = 1
    ) -> list[Object]:
        """The same, once the operator says so too."""
        await self.until(lambda: self._in_state(stage, attempt, "Running"))
        return await self.running(stage, attempt, pods)

    async def reaches(self, state: str, stage: str = "train", name: str = "r") -> StageStatus:
        """A stage's status, once it is in a state."""
        await self.until(lambda: self.stage(stage, name).state == state)
        return self.stage(stage, name)

    async def holds(self, type_: Any, name: str = "r") -> RunStatus:
        """A run's status, once a condition holds."""
        await self.until(lambda: self.is_(type_, name))
        return self.status(name)

    async def events(self, name: str = "r") -> list[Object]:
        """Events of a run."""
        listed = await self.api.call("GET", path_of(EVENT, self.namespace))
        return [e for e in listed["items"] if e["regarding"].get("name") == name]

    async def until_told(self, reason: str, name: str = "r") -> None:
        """Until a run has an Event of this reason. (Nobody watches Events.)"""
        async with asyncio.timeout(PATIENCE):
            while reason not in (event["reason"] for event in await self.events(name)):
                await asyncio.sleep(0.2)

    async def until_asked(self, verb: str, resource: str, times: int) -> list[datetime]:
        """When the operator made requests of a kind here, once it has made so many. (Nobody watches
        the audit log.)"""
        async with asyncio.timeout(PATIENCE):
            while True:
                asked = audit.requests(self.audited, self.namespace)
                found = [r.at for r in asked if (r.verb, r.resource) == (verb, resource)]
                if len(found) >= times:
                    return found
                await asyncio.sleep(0.5)

    async def kubectl(self, *words: str) -> str:
        """What kubectl prints in this namespace. It must succeed."""
        control_plane = self.api.control_plane
        done = await asyncio.create_subprocess_exec(
            *(control_plane.programs["kubectl"], "--kubeconfig", control_plane.kubeconfig),
            *(
                "--cache-dir",
                control_plane.folder / "kubectl-with-runs",
                "--namespace",
                self.namespace,
            ),
            *words,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await done.communicate()
        assert done.returncode == 0, out.decode()
        return out.decode()

    async def described(self, name: str = "r") -> str:
        """`kubectl describe arr`, as one line: what is wrapped reads on."""
        return " ".join((await self.kubectl("describe", "arr", name)).split())

    async def costs_nothing(self) -> None:
        """Let seconds pass in which no request may be made for this namespace: a test of its own
        looks into the audit log. They begin once the last one is over for a while: the Events of a
        decision come after what is seen of it."""
        async with asyncio.timeout(PATIENCE):
            while datetime.now(UTC) - self._last_asked() < AFTER_THE_LAST:
                await asyncio.sleep(0.5)
        begin = datetime.now(UTC)
        await asyncio.sleep(4.0)
        self.quiet.append((begin, datetime.now(UTC)))

    def _last_asked(self) -> datetime:
        asked = audit.requests(self.audited, self.namespace)
        return max((r.at for r in asked), default=datetime.min.replace(tzinfo=UTC))

    def told(self) -> str:
        """For whoever reads a failure: how things stand."""
        lines = []
        for (namespace, name), run in self.api.objects[RUN].items():
            if namespace == self.namespace:
                lines.append(f"{name}: {json.dumps(run.get('status', {}), indent=1)}")
        for job in self.jobs():
            lines.append(f"{job['metadata']['name']}: {json.dumps(job.get('status', {}))}")
        for (namespace, name), pod in self.api.objects[POD].items():
            if namespace == self.namespace:
                node, status = pod["spec"].get("nodeName"), json.dumps(pod["status"])
                lines.append(f"{name} on {node}: {status[:1500]}")
        return "\n".join(lines)

    def _in_state(self, stage: str, attempt: int, state: str) -> bool:
        found = self.stage(stage)
        claim = found.attempt
        return found.state == state and claim is not None and claim.number == attempt


def stage_of(body: Object) -> str:
    """Stage of a Job or pod."""
    return str(body["metadata"]["labels"][labels.STAGE])


def phase_of(body: Object) -> str:
    """Phase of a Job or pod."""
    return str(body["metadata"]["labels"][labels.PHASE])


def attempt_of(body: Object) -> int:
    """Attempt of a Job or pod."""
    return int(body["metadata"]["labels"][labels.ATTEMPT])
