"""What is seen of a run's Jobs: the same form for a cluster's Jobs and a laptop's processes.

An executor fills these in from whatever it can see and the planner judges them; nothing here is
remembered between two looks. A Job that is not in `Observed.jobs` does not exist: an executor that
is not sure (a watch may lag) looks once more before it leaves one out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from acereason_trainer.config.stage_file import PrepareRecord, Progress, ResultRecord

Phase = Literal["Prepare", "Train"]
PodPhase = Literal["Pending", "Running", "Succeeded", "Failed", "Unknown"]


@dataclass(frozen=True)
class PodView:
    """One pod of a Job; on a laptop the one process, named `local`."""

    name: str
    phase: PodPhase
    node: str = ""
    node_ready: bool | None = True
    """False where the node is NotReady or gone; None where nodes may not be read."""
    disrupted: bool = False
    """Preempted, evicted, or taken by a node shutdown (DisruptionTarget, or a status reason)."""
    placed_at: datetime | None = None
    """When it got its node."""
    waiting_reason: str = ""
    """Why a container does not start, for example `ImagePullBackOff`, `Unschedulable`, or, where
    an Event says so, `FailedMount`."""
    waiting_message: str = ""
    exit_code: int | None = None
    """Of the stage's container: 128 + number for a signal; None while it runs, and where it ended
    unseen."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    terminating_since: datetime | None = None
    """When its end was asked for (the moment of the request, before the grace period)."""
    grace_ends_at: datetime | None = None
    """When whoever runs it kills what is left of it, once its end was asked for."""
    result: ResultRecord | None = None
    """What its launcher left, if it did."""
    log_tail: str = ""
    """Last lines of its log, where they can be seen and no record has them."""


@dataclass(frozen=True)
class JobView:
    """One Job: the prepare or the train phase of one attempt of one stage."""

    name: str
    stage: str
    attempt: int
    phase: Phase
    created_at: datetime
    finished: bool = False
    """Nothing of it runs and nothing of it will: done, failed, or its process is gone."""
    finished_at: datetime | None = None
    """Since when, where the Job itself says so."""
    stopping: bool = False
    """Its end was asked for and is not reached: a deletion timestamp, a SIGTERM that was sent, a
    Job that fails and whose last pods the Job controller is ending."""
    queued: bool = False
    """Held back, or taken back, by a queue (Kueue); it has no pods."""
    queued_since: datetime | None = None
    """When it was taken back, where the Job says so."""
    queue: str = ""
    """Name of that queue, where the Job names one."""
    admitted_at: datetime | None = None
    """When it may last have started pods (a Job's startTime); unset: when it was created."""
    message: str = ""
    """What the Job says of itself, for example that a quota refuses its pods."""
    pods_wanted: int = 1
    pods: tuple[PodView, ...] = ()
    progress: Progress | None = None
    step_since: datetime | None = None
    """When that step was first seen, where the executor remembers: status may note it later."""
    progress_unknown: str | None = None
    """Why nothing newer is known, for a while already: which pod does not tell it, and what to do;
    empty where it does, None where that is not certain (yet)."""
    prepare: PrepareRecord | None = None
    """Phase Prepare: the answer, once there is one."""

    @property
    def result(self) -> ResultRecord | None:
        """The telling record of a Train Job: the one that published, else the first bad one."""
        records = [p.result for p in sorted(self.pods, key=_end) if p.result is not None]
        records.sort(key=lambda r: (r.artifact is None, r.exit_code == 0))
        return records[0] if records else None


@dataclass(frozen=True)
class Observed:
    """All that is seen of one run."""

    jobs: tuple[JobView, ...] = ()
    no_room: Mapping[str, str] = field(default_factory=dict)
    """By name of a claimed Job that a quota does not let be made now: the cluster's sentence."""


def _end(pod: PodView) -> tuple[bool, float]:
    return pod.finished_at is None, pod.finished_at.timestamp() if pod.finished_at else 0.0
