"""The Jobs of one run on this machine: seen in their files, started and stopped as planned.

Nothing that matters is kept in memory alone: a process that is not our child is seen by the lock it
holds and judged by the record it left. Only two things are ours to know: the exit code of a child
of our own, and whom we have asked to stop (a successor asks again; a launcher takes it once).
"""

import os
import subprocess
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from acereason_trainer.artifacts.flushing import replace_file
from acereason_trainer.config import yaml_numbers
from acereason_trainer.config.model import Model
from acereason_trainer.config.stage_file import PrepareRecord, Progress, ResultRecord
from pydantic import ValidationError

from acereason_operator.api.run import AceReasonRun, Stage
from acereason_operator.local import processes
from acereason_operator.local.cores import (
    fits,
    machine_cores,
    thread_environment,
    wanted_cores,
)
from acereason_operator.local.job_files import JobFiles, attempt_directory, started_jobs
from acereason_operator.planner import effective
from acereason_operator.planner.actions import CreateJob, RemoveJob, StopJob
from acereason_operator.planner.names import job_name
from acereason_operator.planner.observed import JobView, Observed, PodView

WINDING_UP = timedelta(seconds=10)
"""A launcher kills its ranks at the end of the grace period itself; this is for its own end."""

Record = TypeVar("Record", bound=Model)


@dataclass
class _Job:
    """What is known of a Job beside its files."""

    files: JobFiles
    child: "subprocess.Popen[bytes] | None" = None
    stop_asked_at: datetime | None = None
    ended: JobView | None = None
    """As it was seen after its end: nothing of it changes any more."""


class LocalJobs:
    """The Jobs of one run."""

    def __init__(self, store: Path, run: AceReasonRun) -> None:
        """Find the Jobs that earlier runners started."""
        self._store = store
        self._run = run
        self._cores = machine_cores()
        name = run.metadata.name
        self._jobs = {self._name(files): _Job(files) for files in started_jobs(store, name)}
        self.waiting: dict[str, float] = {}
        """Stages whose Job waits for cores, with the number of cores they want."""

    def observe(self) -> Observed:
        """Every Job as its files show it now."""
        return Observed(tuple(self._view(name, job) for name, job in self._jobs.items()))

    def create(self, action: CreateJob) -> bool:
        """Start a Job, unless it was started before, or too few cores are free: whoever asks again
        gets it then. Returns whether there is a new Job."""
        if action.name in self._jobs:
            return False
        stage = self._stage(action.stage)
        wanted = wanted_cores(self._run.spec, stage, self._cores)
        if action.phase == "Train" and not fits(wanted, self._taken(), self._cores):
            self.waiting[action.stage] = wanted
            return False
        directory = attempt_directory(
            self._store, self._run.metadata.name, action.stage, action.attempt
        )
        directory.mkdir(parents=True, exist_ok=True)
        files = JobFiles(action.stage, action.attempt, action.phase, directory)
        replace_file(files.stage_file, yaml_numbers.dump(action.stage_file.dump()))
        child = processes.start(files, self._environment(stage, wanted))
        self._jobs[action.name] = _Job(files, child)
        return True

    def stop(self, action: StopJob) -> None:
        """Ask a Job to end."""
        job = self._jobs[action.name]
        job.stop_asked_at = job.stop_asked_at or datetime.now(UTC)
        processes.ask_to_stop(job.files)

    def remove(self, action: RemoveJob) -> None:
        """Forget an ended Job; its records and logs stay."""
        job = self._jobs.pop(action.name, None)
        if job is not None:
            job.files.mark.unlink(missing_ok=True)

    def kill_overdue(self) -> None:
        """Kill what was asked to stop and let its grace period pass."""
        for job in self._jobs.values():
            if job.stop_asked_at is None or job.ended is not None:
                continue
            stage = self._stage(job.files.stage)
            grace = effective.grace_period(self._run.spec, stage) if stage else effective.GRACE
            if datetime.now(UTC) >= job.stop_asked_at + grace + WINDING_UP:
                processes.kill(job.files)

    def kill_all(self) -> None:
        """Kill every Job that runs."""
        for job in self._jobs.values():
            if job.ended is None:
                processes.kill(job.files)

    def _name(self, files: JobFiles) -> str:
        meta = self._run.metadata
        return job_name(meta.name, meta.uid, files.stage, files.attempt, files.phase)

    def _stage(self, name: str) -> Stage | None:
        """A stage of the spec; None where the run no longer has it."""
        return next((s for s in self._run.spec.stages if s.name == name), None)

    def _taken(self) -> float:
        """Cores that running stages were given. Preparing is short and is not counted."""
        return sum(
            wanted_cores(self._run.spec, self._stage(job.files.stage), self._cores)
            for job in self._jobs.values()
            if job.files.phase == "Train" and job.ended is None and _runs(job)
        )

    def _environment(self, stage: Stage | None, cores: float) -> dict[str, str]:
        given = [*self._run.spec.defaults.env, *(stage.env if stage else [])]
        return {
            **os.environ,
            **thread_environment(cores),
            **{variable.name: variable.value for variable in given if variable.value is not None},
        }

    def _view(self, name: str, job: _Job) -> JobView:
        if job.ended is not None:
            return job.ended
        view = _looked_at(name, job)
        if view.finished:
            job.ended = view
        return view


def _looked_at(name: str, job: _Job) -> JobView:
    files = job.files
    runs = _runs(job)  # looked at first: what has ended has left its record before
    view = JobView(
        name=name,
        stage=files.stage,
        attempt=files.attempt,
        phase=files.phase,
        created_at=_written_at(files.mark) or datetime.now(UTC),
        finished=not runs,
        stopping=runs and job.stop_asked_at is not None,
        progress=_read(Progress, files.progress) if files.phase == "Train" else None,
    )
    pod = PodView(
        name="local",
        phase="Running",
        started_at=view.created_at,
        terminating_since=job.stop_asked_at,
    )
    return replace(view, pods=(pod,)) if runs else _ended(view, pod, job)


def _ended(view: JobView, pod: PodView, job: _Job) -> JobView:
    files = job.files
    prepare = _read(PrepareRecord, files.record) if files.phase == "Prepare" else None
    result = _read(ResultRecord, files.record) if files.phase == "Train" else None
    record = prepare or result
    code = record.exit_code if record else _exit_code(job.child)
    ended = replace(
        pod,
        phase="Succeeded" if code == 0 else "Failed",
        exit_code=code,
        finished_at=_written_at(files.record) or _written_at(files.log),
        result=result,
    )
    return replace(view, pods=(ended,), prepare=prepare)


def _runs(job: _Job) -> bool:
    """A child of ours runs until it is reaped, so that its code is there when it has ended."""
    if job.child is not None:
        return job.child.poll() is None
    return job.files.alive


def _exit_code(child: "subprocess.Popen[bytes] | None") -> int | None:
    """As a container would show it: 128 + number for a signal; None for a process not of ours."""
    if child is None or child.returncode is None:
        return None
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _read(kind: type[Record], path: Path) -> Record | None:
    """A record; None where there is none. One that cannot be read counts as none: what its stage
    did is then for the next prepare to find."""
    try:
        return kind.parse_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _written_at(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except FileNotFoundError:
        return None
