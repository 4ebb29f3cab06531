"""`status` of an AceReasonRun: what is seen and what was decided. Written by the planner alone."""

from typing import Literal

from acereason_trainer.config.model import Model
from acereason_trainer.config.stage_file import Prepared, PrepareRecord, PublishedArtifact
from pydantic import Field

ConditionType = Literal["Complete", "Failed", "Suspended", "Stalled", "ProgressUnknown"]

StageState = Literal[
    "Waiting",  # a stage it needs is not complete, or it is held back
    "Preparing",  # inputs are imported and verified, the key is computed
    "Pending",  # claimed; its processes or pods are not all running
    "Running",
    "BackingOff",  # between two attempts
    "Complete",
    "Reused",  # an artifact with its key existed
    "Failed",
    "Suspended",
]


StopReason = Literal["Suspended", "Edited", "PendingDeadline", "ActiveDeadline"]
"""Why an attempt in flight is ended by us. It is charged to nobody."""


class Condition(Model):
    """As in the Kubernetes API conventions."""

    type: ConditionType
    """Adjective."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: str
    """CamelCase word for programs."""
    message: str = ""
    """Sentence for people."""
    observed_generation: int = 0
    """Generation of the spec that this was decided for."""
    last_transition_time: str
    """RFC 3339 time of the last change of `status`."""


class Failure(Model):
    """Why the last attempt of a stage ended badly."""

    pod: str = ""
    """Pod, or process, that failed first."""
    node: str = ""
    """Node it ran on: a corrupt input is verified again elsewhere."""
    exit_code: int | None = None
    """Its exit code."""
    reason: str = ""
    """CamelCase word."""
    message: str = ""
    """Sentence with what to do."""
    log_tail: str = ""
    """Last lines of its log."""
    verdict: (
        Literal[
            "Infrastructure", "User", "BadConfiguration", "CorruptInput", "HealthStop", "Stopped"
        ]
        | None
    ) = None
    """Who pays."""
    time: str = ""
    """RFC 3339 time."""


class AttemptClaim(Model):
    """An attempt that was decided: written before anything is started."""

    number: int = Field(ge=1)
    """From 1, over the life of the stage."""
    phase: Literal["Prepare", "Train"]
    """Which of the attempt's two Jobs is meant."""
    job: str
    """Deterministic name of its Job."""
    seen: bool = False
    """Whether that Job was observed once: a claimed Job that is gone after that is not made
    again."""
    stopping: StopReason | None = None
    """Why its end was asked for; unset: it was not."""
    prepared: Prepared | None = None
    """What the launcher is told; set when phase is Train."""
    claimed_at: str
    """RFC 3339 time of the claim."""
    started_at: str | None = None
    """RFC 3339 time at which all its pods were first seen running."""


class Spent(Model):
    """Retries used so far, per budget."""

    user: int = 0
    """Failures that the user's code or settings caused."""
    infrastructure: int = 0
    """Everything else."""
    health: int = 0
    """Health stops; the second one is the user's."""
    corrupt_input: int = 0
    """Times an input did not verify since it last did."""
    pending: int = 0
    """Attempts in a row that were released because their pods did not all run in time."""


class StageStatus(Model):
    """One stage."""

    name: str
    """Its name."""
    state: StageState = "Waiting"
    """Where it is."""
    message: str = ""
    """Why, where that is not plain."""
    attempt: AttemptClaim | None = None
    """The attempt in flight."""
    attempts: int = 0
    """Attempts so far."""
    spent: Spent = Spent()
    """Retries used."""
    key: str | None = None
    """Stage key of the attempt in flight or of the result."""
    settings_digest: str | None = None
    """sha256 of the effective settings and named inputs that the key was made from, and of the
    volume: an edit that changes results, or where they are, shows here."""
    spec_digest: str | None = None
    """sha256 of all that the last attempt was told, image and resources too: an edit that gives a
    failed stage another chance shows here."""
    prepare: PrepareRecord | None = None
    """Last answer of `prepare`."""
    salt: int = 0
    """Raised by a health stop."""
    before_step: int | None = None
    """After a health stop: resume from at most this step."""
    step: int = 0
    """Completed steps, as last seen."""
    total_steps: int | None = None
    """Steps in all."""
    step_seen_at: str | None = None
    """When `step` was first seen at its value."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Few last metrics."""
    artifact: PublishedArtifact | None = None
    """Result."""
    last_failure: Failure | None = None
    """Last bad end."""
    retry_at: str | None = None
    """With state BackingOff: when the next attempt may start."""
    active_seconds: float = 0
    """Time that ended attempts ran, for the active deadline."""
    started_at: str | None = None
    """First attempt's start."""
    finished_at: str | None = None
    """When it became Complete, Reused or Failed."""


class RunStatus(Model):
    """The whole run."""

    observed_generation: int = 0
    """Generation of the spec that this status was computed from."""
    state: str = "Pending"
    """Derived for the eye (the State column) and never read back."""
    stage: str = ""
    """Running stage or stages, for the eye."""
    progress: str = ""
    """For the eye: `3/7` stages, step of the running one."""
    attempt: str = ""
    """For the eye: number of the attempt of each running stage."""
    reward: str = ""
    """For the eye: last mean reward, of the lowest stage that has one."""
    message: str = ""
    """For the eye: what a person should know; empty while all goes well."""
    conditions: list[Condition] = Field(default_factory=list)
    """Complete, Failed, Suspended, Stalled; ProgressUnknown only while it holds."""
    stages: list[StageStatus] = Field(default_factory=list)
    """In the order of the spec."""
    started_at: str | None = None
    """First visit."""
    finished_at: str | None = None
    """When Complete or Failed became True."""
