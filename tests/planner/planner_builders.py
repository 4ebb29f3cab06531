"""Builders of what the planner is given: runs, Jobs as seen, and the moments between them."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from acereason_operator.api.run import AceReasonRun
from acereason_operator.api.status import RunStatus, StageStatus
from acereason_operator.planner.actions import Action, CreateJob, RecordEvent, RemoveJob, StopJob
from acereason_operator.planner.context import Context
from acereason_operator.planner.observed import JobView, Observed, PodView
from acereason_operator.planner.plan import Plan, plan
from acereason_trainer.config.sources import ArtifactRef
from acereason_trainer.config.stage_file import (
    PreparedInputs,
    PrepareRecord,
    Progress,
    PublishedArtifact,
    ResultRecord,
)

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
LAPTOP = Context(
    store="/store",
    resolve=lambda path: f"/run/{path}",
    namespace="local",
    settling=timedelta(0),
    first_backoff=timedelta(seconds=1),
    progress_every=timedelta(0),
    log_hint="{store}/work/{run}/{stage}/{attempt}/{log}",
    one_process=True,
)
CLUSTER = Context(store="/store", resolve=lambda path: f"/data/{path}")

CURATE = {"decontamination": None}
STAGES: list[dict[str, Any]] = [
    {"name": "prompts", "curate": CURATE, "inputs": {"data": {"path": "prompts.jsonl"}}},
    {"name": "sft", "sft": {}},
    {"name": "math", "mathRL": {}},
]


def a_run(stages: list[dict[str, Any]] | None = None, generation: int = 1, **spec: Any) -> (
    AceReasonRun
):  # fmt: skip
    """A run named `r`: prompts, sft, math unless other stages are given."""
    return AceReasonRun.parse(
        {
            "apiVersion": "acereason.dev/v1alpha1",
            "kind": "AceReasonRun",
            "metadata": {"name": "r", "generation": generation},
            "spec": {
                "model": {"path": "base"},
                "storage": {"directory": "store"},
                "stages": stages or STAGES,
                **spec,
            },
        }
    )


def digest(text: str) -> str:
    """A digest that shows where it is from: padded hex of the text."""
    return "sha256:" + text.encode().hex()[-64:].rjust(64, "0")


def published(key: str, kind: Any = "model") -> PublishedArtifact:
    """The artifact of a key."""
    return PublishedArtifact(uri=f"artifacts/{key}", digest=digest(key), bytes=7, kind=kind)


def ref(name: str) -> ArtifactRef:
    """A reference to an imported artifact."""
    return ArtifactRef(uri=f"artifacts/{name}", digest=digest(name))


def prepared(key: str, **more: Any) -> PrepareRecord:
    """`prepare` found everything well."""
    inputs = PreparedInputs(model=ref("model-base"), data=ref("data-prompts"))
    return PrepareRecord(exit_code=0, key=key, **{"inputs": inputs, **more})


def done(key: str, **more: Any) -> ResultRecord:
    """A stage that published."""
    return ResultRecord(exit_code=0, step=10, artifact=published(key), **more)


def a_pod(name: str = "local", **more: Any) -> PodView:
    """A running pod."""
    return PodView(name=name, **{"phase": "Running", "started_at": NOON, **more})


def a_dead_pod(code: int | None = 1, name: str = "local", **more: Any) -> PodView:
    """A pod that ended with a code at noon."""
    phase = "Succeeded" if code == 0 else "Failed"
    return PodView(name=name, **{"phase": phase, "exit_code": code, "finished_at": NOON, **more})


@dataclass
class Desk:
    """One run under the planner's eyes: carries plans out on Jobs that tests then change."""

    run: AceReasonRun
    context: Context = LAPTOP
    now: datetime = NOON
    status: RunStatus = field(default_factory=RunStatus)
    jobs: dict[str, JobView] = field(default_factory=dict)
    no_room: dict[str, str] = field(default_factory=dict)
    made: dict[str, CreateJob] = field(default_factory=dict)
    """The last start of each stage."""
    last: Plan = field(init=False)

    def plan(self) -> Plan:
        """Decide, without carrying anything out."""
        observed = Observed(tuple(self.jobs.values()), self.no_room)
        return plan(self.run, self.status, observed, self.now, self.context)

    def round(self) -> Plan:
        """Decide, write, carry out; and hold every plan to being a fixpoint."""
        self.last = self.plan()
        self.status = RunStatus.parse(self.last.status.dump())
        assert self.plan().status == self.status, "the same view gave another status"
        for action in self.last.actions:
            self.carry_out(action)
        return self.last

    def carry_out(self, action: Action) -> None:
        """Do one thing, as an executor does."""
        match action:
            case CreateJob(name=name):
                self.made[action.stage] = action
                view = JobView(name, action.stage, action.attempt, action.phase, self.now)
                self.jobs.setdefault(name, replace(view, pods=(a_pod(),)))
            case StopJob(name=name):
                self.jobs[name] = replace(self.jobs[name], stopping=True)
            case RemoveJob(name=name):
                del self.jobs[name]

    def rounds(self) -> Plan:
        """Rounds until nothing is left to do now."""
        for _ in range(20):
            before = self.status
            self.round()
            if self.status == before and not self.done_now():
                return self.last
        raise AssertionError("rounds do not end")

    def done_now(self) -> list[Any]:
        """What the last plan asked for, events aside."""
        return [a for a in self.last.actions if not isinstance(a, RecordEvent)]

    def events(self) -> list[str]:
        """Reasons of the last plan's events."""
        return [a.reason for a in self.last.actions if isinstance(a, RecordEvent)]

    def stage(self, name: str) -> StageStatus:
        """Status of one stage."""
        return next(s for s in self.status.stages if s.name == name)

    def job(self, stage: str) -> JobView:
        """The Job of a stage's attempt in flight."""
        claim = self.stage(stage).attempt
        assert claim is not None, f"{stage} has no attempt: {self.stage(stage).state}"
        return self.jobs[claim.job]

    def change(self, stage: str, **more: Any) -> None:
        """Change the Job in flight of a stage, as seen."""
        job = self.job(stage)
        self.jobs[job.name] = replace(job, **more)

    def prepares(self, stage: str, record: PrepareRecord | None = None) -> Plan:
        """Its prepare ends with a record (a good one unless given)."""
        record = record or prepared(f"key-{stage}")
        pods = (a_dead_pod(record.exit_code),)
        self.change(stage, finished=True, prepare=record, pods=pods)
        return self.rounds()

    def ends(self, stage: str, *pods: PodView, finished: bool = True) -> Plan:
        """Its Job ends with these pods."""
        self.change(stage, finished=finished, pods=pods)
        return self.rounds()

    def finishes(self, stage: str) -> Plan:
        """Whatever it takes from here for a stage to be complete."""
        self.prepares(stage)
        return self.ends(stage, a_dead_pod(0, result=done(f"key-{stage}")))

    def reaches(self, stage: str) -> "Desk":
        """Complete all above a stage and prepare it, so that its train phase runs."""
        self.rounds()
        for above in self.run.spec.stages:
            if above.name == stage:
                self.prepares(stage)
                return self
            self.finishes(above.name)
        raise KeyError(stage)

    def later(self, **delta: float) -> Plan:
        """Time passes, then rounds."""
        self.now += timedelta(**delta)
        return self.rounds()

    def retries_now(self) -> Plan:
        """Wait out a back-off."""
        return self.later(minutes=10)

    def edited(self, run: AceReasonRun) -> Plan:
        """The spec changes."""
        meta = run.metadata.model_copy(update={"generation": self.run.metadata.generation + 1})
        self.run = run.model_copy(update={"metadata": meta})
        return self.rounds()

    def condition(self, type_: str) -> str:
        """Status and reason of a condition."""
        found = next(c for c in self.status.conditions if c.type == type_)
        return f"{found.status} {found.reason}"


def progress(step: int, total: int = 100) -> Progress:
    """A running stage's step."""
    return Progress(step=step, total=total, metrics={"reward": 0.5})
