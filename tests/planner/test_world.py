"""A simulated world in which everything goes wrong in any order, and the planner gets through it.

The executor may die between any two calls, carry plans out late or twice; Jobs end in every way,
vanish, are preempted; artifacts rot; people suspend and edit. Whatever happens, after each round
the rules below hold, and once the troubles end the run does too.

`ACEREASON_DEEP=1` runs 2,000 longer examples instead of 60 (about 10 minutes).
"""

import os
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from acereason_operator.api.run import AceReasonRun
from acereason_operator.api.status import RunStatus, StageStatus
from acereason_operator.planner.actions import (
    Action,
    CreateJob,
    RecordEvent,
    RemoveJob,
    StopJob,
)
from acereason_operator.planner.digests import digest_of
from acereason_operator.planner.inputs import by_input_name
from acereason_operator.planner.observed import JobView, Observed, PodView
from acereason_operator.planner.plan import Plan, plan
from acereason_operator.planner.stages import DONE, order_of
from acereason_operator.planner.status import is_true, worth_writing
from acereason_trainer.config.sources import ArtifactRef, ResolvedSource
from acereason_trainer.config.stage_file import (
    OUTPUT_KIND,
    PreparedInputs,
    PrepareRecord,
    Progress,
    PublishedArtifact,
    ResultRecord,
    StageFile,
    StageSettings,
    settings_for_key,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from planner_builders import CLUSTER, NOON, a_run, digest, published

DEEP = bool(os.environ.get("ACEREASON_DEEP"))
GRACE = timedelta(seconds=40)
CODES = st.sampled_from([1, 65, 75, 76, 78, 137, 143])
STAGE_NAMES = st.sampled_from(["prompts", "sft", "math", "eval", "control"])
RECIPE: list[dict[str, Any]] = [
    {"name": "prompts", "curate": {}, "inputs": {"data": {"path": "prompts.jsonl"}}},
    {"name": "sft", "sft": {}, "nodes": 2},
    {"name": "math", "mathRL": {"health": {}}, "deadlines": {"pending": "5m", "active": "30h"}},
    {"name": "eval", "evaluate": {"sets": [{"name": "aime", "file": "a"}]}, "needs": ["math"]},
    {"name": "control", "sft": {}, "needs": ["sft"], "inputs": {"data": {"path": "more.jsonl"}}},
]
SPEC: dict[str, Any] = {
    "stages": RECIPE,
    "defaults": {"retries": {"user": 2, "infrastructure": 3}},
    "ttlAfterFinished": "1h",
}


@dataclass
class Store:
    """Artifacts by key; those in `rotten` no longer match their digest."""

    artifacts: dict[str, PublishedArtifact] = field(default_factory=dict)
    rotten: set[str] = field(default_factory=set)
    ever_rotten: set[str] = field(default_factory=set)

    def prepare(self, file: StageFile) -> PrepareRecord:
        """What `prepare` would answer: verified inputs, the key, a finished artifact."""
        named = {"model": file.inputs.model, "data": file.inputs.data}
        refs: dict[str, ArtifactRef] = {}
        for name, source in named.items():
            if source is None:
                continue
            refs[name] = self._imported(source)
            if refs[name].uri in self.rotten:
                return PrepareRecord(exit_code=65, message="bad file", corrupt_input=name)
        key = self.key(file.settings, refs)
        if f"artifacts/{key}" in self.rotten:  # set aside, to be made again
            self.rotten.discard(f"artifacts/{key}")
            self.artifacts.pop(key, None)
        return PrepareRecord(
            exit_code=0,
            key=key,
            inputs=PreparedInputs(model=refs.get("model"), data=refs.get("data")),
            reused=self.artifacts.get(key),
        )

    def key(self, stage: StageSettings, refs: dict[str, ArtifactRef]) -> str:
        made = digest_of(
            {
                "settings": settings_for_key(stage.settings),
                "kind": stage.kind,
                "inputs": {name: ref.digest for name, ref in refs.items()},
            }
        )
        return f"{stage.kind}-{made[7:39]}"

    def publish(self, file: StageFile) -> PublishedArtifact:
        assert file.prepared is not None, "a train phase without its claim"
        key = file.prepared.key
        kind = OUTPUT_KIND[file.settings.kind]
        return self.artifacts.setdefault(key, published(key, kind))

    def _imported(self, source: ResolvedSource) -> ArtifactRef:
        if source.artifact:
            return source.artifact
        name = f"import-{digest_of(source.dump())[7:23]}"
        return ArtifactRef(uri=f"artifacts/{name}", digest=digest(name))


class World(RuleBasedStateMachine):
    """The rules are what the world may do; `_round` is what an executor does."""

    def __init__(self) -> None:
        super().__init__()
        self.now: datetime = NOON
        self.wanted = deepcopy(SPEC)
        self.run: AceReasonRun = a_run(**self.wanted)
        self.edit = 0
        self.status = RunStatus()
        self.jobs: dict[str, JobView] = {}
        self.files: dict[str, StageFile] = {}
        self.store = Store()
        self.unfinished: list[list[Action]] = []
        self.claimed: set[str] = set()
        self.seen: set[str] = set()

    # What an executor does

    def _plan(self) -> Plan:
        seen = Observed(tuple(self.jobs.values()))
        decided = plan(self.run, self.status, seen, self.now, CLUSTER)
        for action in decided.actions:
            if isinstance(action, CreateJob):
                self._may_be_made(action, decided.status)
        return decided

    def _may_be_made(self, action: CreateJob, status: RunStatus) -> None:
        """Rules for every start of a Job."""
        again = f"{action.name} is known to have been seen, is gone, and is made again"
        assert action.name not in self.seen, again
        states = {s.name: s.state for s in status.stages}
        stage = next(s for s in self.run.spec.stages if s.name == action.stage)
        assert not (self.run.spec.suspend or stage.suspend), f"{stage.name} is held back"
        above = order_of(self.run.spec).needs[stage.name]
        assert all(states[need] in DONE for need in above), f"{stage.name} starts before its needs"
        running = [
            job.name
            for job in self._open_jobs()
            if job.stage == stage.name
            and any(pod.phase == "Running" and self._may_run(pod) for pod in job.pods)
        ]
        assert not running, f"{action.name} starts beside {running}"

    def _may_run(self, pod: PodView) -> bool:
        """Whether a pod's node may still run it: where that is not known, for its grace period."""
        if pod.node_ready is None and pod.grace_ends_at is not None:
            return self.now < pod.grace_ends_at
        return pod.node_ready is not False

    def _is_claimed(self, job: JobView) -> bool:
        stage = next((s for s in self.status.stages if s.name == job.stage), None)
        return stage is not None and stage.attempt is not None and stage.attempt.job == job.name

    def _write(self, decided: Plan) -> None:
        done = {s.name: s for s in self.status.stages if s.state in DONE}
        for stage in decided.status.stages:
            before = done.get(stage.name)
            if before is None:
                continue
            rotten = before.artifact and before.artifact.uri in self.store.ever_rotten
            assert stage.state == before.state or rotten, f"{stage.name} was done and runs again"
            assert stage.attempt is None or rotten, f"{stage.name} is done and has an attempt"
        for stage in decided.status.stages:
            if stage.state in DONE and stage.name not in done:
                self._is_what_is_wanted(stage)
        before = {s.attempt.job for s in self.status.stages if s.attempt}
        new = {s.attempt.job for s in decided.status.stages if s.attempt} - before
        assert not new & self.claimed, f"{new & self.claimed} are claimed a second time"
        self.claimed |= new
        if worth_writing(self.status, decided.status):
            text = decided.status.model_dump_json(by_alias=True, exclude_none=True)
            self.status = RunStatus.parse_json(text)
        self.seen |= {s.attempt.job for s in self.status.stages if s.attempt and s.attempt.seen}

    def _is_what_is_wanted(self, status: StageStatus) -> None:
        """A stage is done with the key of its settings, as they are now, and its inputs."""
        stage = next(s for s in self.run.spec.stages if s.name == status.name)
        assert status.prepare is not None and status.prepare.inputs is not None
        read = dict(by_input_name(status.prepare.inputs))
        key = self.store.key(stage, read)
        assert status.key == key, f"{stage.name} is done with another work's key"
        assert status.artifact is not None and status.artifact.uri == f"artifacts/{key}"

    def _carry_out(self, action: Action) -> None:
        match action:
            case CreateJob():
                if action.name in self.jobs:
                    return
                file = action.stage_file
                self.files[action.name] = file
                self.jobs[action.name] = JobView(
                    action.name, action.stage, action.attempt, action.phase, self.now,
                    pods_wanted=1 if action.phase == "Prepare" else file.nodes,
                )  # fmt: skip
            case StopJob():
                job = self.jobs.get(action.name)
                if job is not None and not job.finished:
                    self.jobs[job.name] = replace(job, stopping=True)
            case RemoveJob():
                self.jobs.pop(action.name, None)
            case RecordEvent():
                assert action.message

    def _round(self) -> Plan:
        seen = Observed(tuple(self.jobs.values()))
        decided = self._plan()
        self._write(decided)
        again = plan(self.run, self.status, seen, self.now, CLUSTER)
        assert not worth_writing(self.status, again.status), "the same view gave another status"
        mine = [a for a in decided.actions if not isinstance(a, RecordEvent)]
        assert [*again.actions] == mine, "the same view gave other actions"
        for action in decided.actions:
            self._carry_out(action)
            self._carry_out(action)
        self._at_most_one_trains()
        self._nobody_is_forgotten()
        return decided

    def _nobody_is_forgotten(self) -> None:
        for job in self._open_jobs():
            ended = job.pods and all(pod.phase in ("Succeeded", "Failed") for pod in job.pods)
            wanted = self._is_claimed(job) or job.stopping or ended
            assert wanted, f"{job.name} belongs to no attempt and goes on"
            stage = next(s for s in self.run.spec.stages if s.name == job.stage)
            held = self.run.spec.suspend or stage.suspend
            assert job.stopping or ended or not held, f"{job.name} is held back and goes on"

    def _at_most_one_trains(self) -> None:
        for stage in self.run.spec.stages:
            active = [
                job.name
                for job in self._open_jobs()
                if job.stage == stage.name and job.phase == "Train" and not job.stopping
            ]
            assert len(active) <= 1, f"{active} train at once"

    def _open_jobs(self) -> list[JobView]:
        return [job for job in self.jobs.values() if not job.finished]

    @rule()
    def round(self) -> None:
        """An executor looks, decides, writes, and does everything (each thing twice)."""
        self._round()

    @rule(rounds=st.integers(1, 8))
    def things_go_well(self, rounds: int) -> None:
        """A stretch without trouble, so that troubles meet runs of every age."""
        for _ in range(rounds):
            decided = self._round()
            if not self._help_along() and decided.requeue_at:
                self.now = max(self.now, decided.requeue_at)

    @rule(share=st.floats(0, 1))
    def round_cut_short(self, share: float) -> None:
        """The executor dies after the write, or after some of its actions; what was left may still
        come, from a process that was only slow."""
        decided = self._plan()
        self._write(decided)
        cut = int(len(decided.actions) * share)
        for action in decided.actions[:cut]:
            self._carry_out(action)
        self.unfinished.append(list(decided.actions[cut:]))

    @precondition(lambda self: self.unfinished)
    @rule(data=st.data())
    def late_actions(self, data: st.DataObject) -> None:
        """A slow executor wakes up and does what it had decided long ago."""
        at = data.draw(st.integers(0, len(self.unfinished) - 1))
        for action in self.unfinished.pop(at):
            self._carry_out(action)

    # What Jobs do

    @precondition(lambda self: self._open_jobs())
    @rule(data=st.data())
    def job_starts(self, data: st.DataObject) -> None:
        job = self._draw_job(data)
        if not job.stopping and not job.queued:
            self._start(job)

    @precondition(lambda self: self._open_jobs())
    @rule(data=st.data(), step=st.integers(0, 500))
    def job_progresses(self, data: st.DataObject, step: int) -> None:
        job = self._draw_job(data)
        if job.phase == "Train" and job.pods:
            self.jobs[job.name] = replace(job, progress=Progress(step=step, total=500))

    @precondition(lambda self: self._open_jobs())
    @rule(data=st.data())
    def job_succeeds(self, data: st.DataObject) -> None:
        self._succeed(self._draw_job(data))

    @precondition(lambda self: self._open_jobs())
    @rule(data=st.data(), code=CODES, record=st.booleans())
    def job_fails(self, data: st.DataObject, code: int, record: bool) -> None:
        """One pod ends with a code, with or without a record; the Job ends some time after."""
        job = self._start(self._draw_job(data))
        step = job.progress.step if job.progress else 0
        result = ResultRecord(exit_code=code, step=step, message="why") if record else None
        bad = replace(
            job.pods[0], phase="Failed", exit_code=code, finished_at=self.now, result=result
        )
        answer = None
        if job.phase == "Prepare" and record:
            answer = PrepareRecord(exit_code=code, message="why", corrupt_input="data")
        self.jobs[job.name] = replace(job, pods=(bad, *job.pods[1:]), prepare=answer)

    @precondition(lambda self: self._open_jobs())
    @rule(data=st.data(), published_first=st.booleans())
    def job_ends_unseen(self, data: st.DataObject, published_first: bool) -> None:
        """Killed with its executor: no code, no record, perhaps an artifact."""
        job = self._draw_job(data)
        if published_first and job.phase == "Train":
            self.store.publish(self.files[job.name])
        pods = tuple(replace(p, phase="Failed", finished_at=self.now) for p in job.pods)
        self.jobs[job.name] = replace(job, finished=True, pods=pods)

    @precondition(lambda self: self._open_jobs())
    @rule(data=st.data())
    def pod_is_preempted(self, data: st.DataObject) -> None:
        job = self._start(self._draw_job(data))
        gone = replace(job.pods[0], phase="Failed", disrupted=True, finished_at=self.now)
        self.jobs[job.name] = replace(job, pods=(gone, *job.pods[1:]))

    @precondition(lambda self: self._open_jobs())
    @rule(data=st.data(), is_read=st.booleans())
    def node_goes_away(self, data: st.DataObject, is_read: bool) -> None:
        self._lose_node_of(self._draw_job(data), is_read=is_read)

    def _lose_node_of(self, job: JobView, *, is_read: bool) -> None:
        """Nobody ever ends its pod, and where nodes may not be read nobody says why."""
        job = self._start(job)
        lost = replace(
            job.pods[0],
            node_ready=False if is_read else None,
            terminating_since=self.now,
            grace_ends_at=self.now + GRACE,
        )
        self.jobs[job.name] = replace(job, pods=(lost, *job.pods[1:]))

    @precondition(lambda self: self._open_jobs())
    @rule(data=st.data(), queued=st.booleans())
    def queue_takes_or_gives(self, data: st.DataObject, queued: bool) -> None:
        job = self._draw_job(data)
        admitted = None if queued else self.now
        pods = () if queued else job.pods
        self.jobs[job.name] = replace(job, queued=queued, admitted_at=admitted, pods=pods)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def job_vanishes(self, data: st.DataObject) -> None:
        """Somebody deletes it, finished or not."""
        self.jobs.pop(data.draw(st.sampled_from(sorted(self.jobs))))

    @rule()
    def stopping_jobs_end(self) -> None:
        for job in self._open_jobs():
            if job.stopping:
                self._stop(job)

    # What people and time do

    @rule(name=STAGE_NAMES)
    def artifact_rots(self, name: str) -> None:
        artifact = next((s.artifact for s in self.status.stages if s.name == name), None)
        if artifact is not None:
            self.store.rotten.add(artifact.uri)
            self.store.ever_rotten.add(artifact.uri)

    @rule(minutes=st.sampled_from([1, 10, 600]))
    def time_passes(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule(suspend=st.booleans())
    def run_suspend(self, suspend: bool) -> None:
        self._edit(lambda spec: spec.update(suspend=suspend))

    @rule(name=STAGE_NAMES, suspend=st.booleans())
    def stage_suspend(self, name: str, suspend: bool) -> None:
        self._edit(lambda spec: self._in(spec, name).update(suspend=suspend))

    @rule(name=STAGE_NAMES, kind=st.sampled_from(["image", "settings", "cadence", "retries"]))
    def stage_edit(self, name: str, kind: str) -> None:
        """An edit that changes results, or only how the stage runs, or only its budgets. (Edits of
        a stage that is done are left to a test of their own: they change nothing.)"""
        self.edit += 1
        changes = {
            "image": {"image": f"trainer:{self.edit}"},
            "retries": {"retries": {"user": 2 + self.edit, "infrastructure": 3 + self.edit}},
            "settings": {},
            "cadence": {},
        }

        def change(spec: dict[str, Any]) -> None:
            stage = self._in(spec, name)
            stage.update(changes[kind])
            of_kind = stage.get("sft", stage.get("mathRL"))
            if isinstance(of_kind, dict) and kind == "settings":
                of_kind["optimizer"] = {"learningRate": self.edit * 1e-7}
            if isinstance(of_kind, dict) and kind == "cadence":
                of_kind["saving"] = {"minutesAtRisk": float(self.edit)}

        self._edit(change)

    def _edit(self, change: Callable[[dict[str, Any]], None]) -> None:
        change(self.wanted)
        self.run = a_run(generation=self.run.metadata.generation + 1, **self.wanted)

    @staticmethod
    def _in(spec: dict[str, Any], name: str) -> dict[str, Any]:
        return next(s for s in spec["stages"] if s["name"] == name)

    @invariant()
    def what_is_done_has_its_artifact(self) -> None:
        for stage in self.status.stages:
            if stage.state in DONE:
                assert stage.artifact is not None
                known = {a.uri for a in self.store.artifacts.values()}
                assert stage.artifact.uri in known | self.store.ever_rotten

    def teardown(self) -> None:
        """Once troubles end, the run does: complete, or failed with something to say."""
        self._edit(lambda spec: spec.update(suspend=False))
        for name in ("prompts", "sft", "math", "eval", "control"):
            self._edit(lambda spec, name=name: self._in(spec, name).update(suspend=False))
        self._round()
        for job in self._open_jobs():  # the last of the troubles, which nobody helps out of
            self._lose_node_of(job, is_read=False)
        for _ in range(300):
            decided = self._round()
            if self._finished():
                break
            if self._help_along():
                continue
            assert decided.requeue_at or self._asked(decided), "nobody will ever look again"
            if decided.requeue_at:
                self.now = max(self.now, decided.requeue_at)
        else:
            raise AssertionError(f"no end: {[(s.name, s.state) for s in self.status.stages]}")
        if is_true(self.status, "Failed"):
            assert any(s.state == "Failed" and s.message for s in self.status.stages)
        self._stays_finished()

    def _asked(self, decided: Plan) -> bool:
        return any(not isinstance(a, RecordEvent) for a in decided.actions)

    def _stays_finished(self) -> None:
        for action in [a for late in self.unfinished for a in late]:
            self._carry_out(action)
        final = {s.name: s.state for s in self.status.stages}
        for _ in range(20):
            self._round()
            self._help_along()
            self.now += timedelta(hours=2)
        assert {s.name: s.state for s in self.status.stages} == final
        assert not self.jobs, "Jobs outlive the run's TTL"

    def _finished(self) -> bool:
        return is_true(self.status, "Complete") or is_true(self.status, "Failed")

    def _help_along(self) -> bool:
        """Everything that is open goes well for a while; whether anything was."""
        moved = False
        for job in self._open_jobs():
            lost = any(p.grace_ends_at and p.phase == "Running" for p in job.pods)
            if lost and not job.stopping:
                continue  # nobody ends a pod on a node that is gone: the planner goes on without it
            moved = True
            if job.stopping:
                self._stop(job)
            elif any(p.phase == "Failed" for p in job.pods):
                pods = tuple(
                    p
                    if p.phase == "Failed"
                    else replace(p, phase="Failed", exit_code=75, finished_at=self.now)
                    for p in job.pods
                )
                self.jobs[job.name] = replace(job, finished=True, pods=pods)
            else:
                self._succeed(replace(job, queued=False))
        return moved

    # The mechanics of Jobs

    def _draw_job(self, data: st.DataObject) -> JobView:
        return self.jobs[data.draw(st.sampled_from(sorted(j.name for j in self._open_jobs())))]

    def _start(self, job: JobView) -> JobView:
        if job.pods:
            return job
        pods = tuple(
            PodView(f"{job.name}-{i}", "Running", node=f"node-{i}", started_at=self.now)
            for i in range(job.pods_wanted)
        )
        started = replace(job, pods=pods, queued=False)
        self.jobs[job.name] = started
        return started

    def _succeed(self, job: JobView) -> None:
        job = self._start(job)
        if any(p.phase == "Failed" or not p.node_ready for p in job.pods):
            return
        file = self.files[job.name]
        result = answer = None
        if job.phase == "Prepare":
            answer = self.store.prepare(file)
        elif any(a.uri in self.store.rotten for a in self._inputs(file)):
            result = ResultRecord(exit_code=65, message="bad file")
        else:
            result = ResultRecord(exit_code=0, step=500, artifact=self.store.publish(file))
        record = result or answer
        assert record is not None
        phase = "Succeeded" if record.exit_code == 0 else "Failed"
        first = replace(
            job.pods[0], phase=phase, exit_code=record.exit_code, finished_at=self.now,
            result=result,
        )  # fmt: skip
        rest = [
            replace(p, phase="Succeeded", exit_code=0, finished_at=self.now) for p in job.pods[1:]
        ]
        self.jobs[job.name] = replace(job, finished=True, pods=(first, *rest), prepare=answer)

    def _inputs(self, file: StageFile) -> list[ArtifactRef]:
        assert file.prepared is not None
        inputs = file.prepared.inputs
        return [r for r in (inputs.model, inputs.data) if r is not None]

    def _stop(self, job: JobView) -> None:
        """A cluster deletes the Job; its pods and their records go with it."""
        del self.jobs[job.name]


World.TestCase.settings = settings(
    max_examples=2000 if DEEP else 60, stateful_step_count=80 if DEEP else 40, deadline=None
)


@pytest.mark.timeout(7200 if DEEP else 900)
class TestWorld(World.TestCase):
    """What pytest collects."""
