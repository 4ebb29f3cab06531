"""`stage.yaml`: all that a stage attempt is told, and the records it leaves.

The same file starts a stage on a cluster, on a laptop, under Slurm or by hand:

    python -m acereason_trainer.prepare stage.yaml      # CPU: inputs, key, reuse, resume state
    python -m acereason_trainer.launch stage.yaml       # starts the ranks, ends with the contract
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from acereason_trainer.config.curate import Curate
from acereason_trainer.config.evaluate import Evaluate
from acereason_trainer.config.model import Model
from acereason_trainer.config.one_of import OneOf
from acereason_trainer.config.rl import CodeRL, MathRL
from acereason_trainer.config.sft import SFT
from acereason_trainer.config.sources import ArtifactRef, Digest, ResolvedSource

StageKind = Literal["curate", "sft", "mathRL", "codeRL", "evaluate"]
ArtifactKind = Literal["model", "data", "evaluation"]

OUTPUT_KIND: dict[str, ArtifactKind] = {
    "curate": "data",
    "sft": "model",
    "mathRL": "model",
    "codeRL": "model",
    "evaluate": "evaluation",
}
"""What each stage kind publishes."""

SEMANTICS: dict[str, int] = {"curate": 5, "sft": 1, "mathRL": 7, "codeRL": 6, "evaluate": 7}
"""Raised for a stage kind only when the same settings and inputs would give other results."""

SEMANTICS_OF_PARTS: dict[str, int] = {"bfloat16": 1, "plateau": 1, "passRate": 2}
"""Raised in the place of a kind's number where only stages that have this part would give other
results: training in bfloat16, stopping by a plateau, drawing for curation. The others keep their
finished work."""

# What a stage's own code says of itself ends in the run's status, and JSON has no NaN and an API
# server no larger integers: a record with one is refused here, or else every write of that status.
Count = Annotated[int, Field(ge=0, le=2**53)]
"""A number of something; up to 2^53 every reader of JSON has the same one."""
ExitStatus = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]
"""How a process ended, in Kubernetes' 32 bits."""
Finite = Annotated[float, Field(allow_inf_nan=False)]
"""A number that JSON can hold."""
MOST_METRICS = 64
FewMetrics = Annotated[
    dict[Annotated[str, Field(max_length=128)], Finite], Field(max_length=MOST_METRICS)
]
"""Last values by name of the metric."""


class StageSettings(OneOf):
    """Exactly one stage kind with its settings."""

    curate: Curate | None = None
    """Choose rows."""
    sft: SFT | None = None
    """Learn from worked answers."""
    math_rl: MathRL | None = Field(default=None, alias="mathRL")
    """Learn from checked math answers."""
    code_rl: CodeRL | None = Field(default=None, alias="codeRL")
    """Learn from tested programs."""
    evaluate: Evaluate | None = None
    """Measure."""

    @property
    def kind(self) -> StageKind:
        """Name of the one member that is set."""
        kinds: tuple[StageKind, ...] = ("curate", "sft", "mathRL", "codeRL", "evaluate")
        values = (self.curate, self.sft, self.math_rl, self.code_rl, self.evaluate)
        return next(k for k, v in zip(kinds, values, strict=True) if v is not None)

    @property
    def settings(self) -> Curate | SFT | MathRL | CodeRL | Evaluate:
        """The one member that is set."""
        value = self.curate or self.sft or self.math_rl or self.code_rl or self.evaluate
        if value is None:
            raise AssertionError("validated: exactly one member is set")
        return value


class StageInputs(Model):
    """A stage's inputs, resolved by the planner."""

    model: ResolvedSource | None = None
    """Start checkpoint."""
    data: ResolvedSource | None = None
    """Dataset."""
    held_out: list[ResolvedSource] = Field(default_factory=list)
    """Sets that rows must not overlap with."""
    validation: ResolvedSource | None = None
    """Problems for validation inside an RL stage."""


class PreparedInputs(Model):
    """The same inputs as artifacts of the store, verified."""

    model: ArtifactRef | None = None
    """Start checkpoint."""
    data: ArtifactRef | None = None
    """Dataset."""
    held_out: list[ArtifactRef] = Field(default_factory=list)
    """Held-out sets, in the order of the stage file."""
    validation: ArtifactRef | None = None
    """Validation problems."""


class ResumeState(Model):
    """A trainer state that an attempt goes on from."""

    path: str
    """Directory of the state, relative to the store."""
    step: Count
    """Optimizer steps (or rows) it holds."""
    digest: Digest
    """Tree digest of its manifest."""


class Prepared(Model):
    """What `prepare` found out, claimed in status and handed to the launcher."""

    key: str
    """Stage key: names the artifact."""
    inputs: PreparedInputs
    """Verified inputs."""
    resume: ResumeState | None = None
    """Where to go on; unset: from the start."""
    salt: int = Field(default=0, ge=0)
    """Enters every random seed; raised by a health stop."""


class StageFile(Model):
    """Everything one stage attempt is told."""

    api_version: Literal["acereason.dev/v1alpha1"] = "acereason.dev/v1alpha1"
    """Version of this file's form."""
    run: str
    """Name of the run: used for directories and messages, never in a key."""
    namespace: str = "default"
    """Namespace of the run; `local` on a laptop."""
    stage: str
    """Name of the stage."""
    attempt: int = Field(ge=1)
    """Number of the attempt, from 1."""
    seed: int = Field(default=0, ge=0)
    """`spec.seed`."""
    salt: int = Field(default=0, ge=0)
    """Raised by a health stop, so that the damaged stretch is drawn anew."""
    before_step: int | None = Field(default=None, ge=0)
    """After a health stop: only states of at most this step are resumed from."""
    store: str
    """Root of the store: a directory (a mount path on a cluster) or an object-store URI."""
    settings: StageSettings
    """The stage kind and its settings."""
    inputs: StageInputs = StageInputs()
    """Where inputs come from."""
    ranks: int = Field(default=1, ge=1)
    """Processes on this node."""
    nodes: int = Field(default=1, ge=1)
    """Nodes of the attempt."""
    no_progress_seconds: float | None = Field(default=None, ge=0)
    """The launcher ends the attempt when the step does not advance for so long. 0: never. Unset:
    2 hours, or ten times the longest that it has taken, where that is more."""
    grace_seconds: float = Field(default=30.0, ge=0)
    """Time between SIGTERM and SIGKILL."""
    prepared: Prepared | None = None
    """Set by the planner from the prepare record; the launcher refuses a file without it."""

    @property
    def work_dir(self) -> str:
        """This attempt's own directory, relative to the store."""
        return f"work/{self.run}/{self.stage}/{self.attempt}"


class PublishedArtifact(Model):
    """An artifact as status and records name it."""

    uri: str = Field(min_length=1, max_length=1024)
    """Directory, relative to the store."""
    digest: Digest
    """Tree digest."""
    bytes: Count
    """Total size of its files."""
    kind: ArtifactKind
    """What it is."""


class PrepareRecord(Model):
    """`prepare.json`: the answer of `prepare` (4 KiB at most)."""

    exit_code: ExitStatus
    """0, or the contract's code."""
    message: str = ""
    """One sentence: why it failed, or what was found."""
    key: str | None = None
    """Stage key."""
    inputs: PreparedInputs | None = None
    """Verified inputs."""
    reused: PublishedArtifact | None = None
    """A finished artifact under this key."""
    resume: ResumeState | None = None
    """Newest good state under this key."""
    corrupt_input: str | None = None
    """Name of the input (`model`, `data`, ...) that failed verification."""


class ResultRecord(Model):
    """`result.json`, also the termination message: how a stage attempt ended (4 KiB at most)."""

    exit_code: ExitStatus
    """The contract's code."""
    reason: str = ""
    """Machine-readable CamelCase word, for example `OutOfMemory`."""
    message: str = ""
    """One sentence for a person."""
    rank: Count | None = None
    """First rank that failed."""
    step: Count = 0
    """Last completed step."""
    artifact: PublishedArtifact | None = None
    """What was published."""
    publish_seconds: Finite | None = None
    """How long publishing took: the grace period is held against it."""
    metrics: FewMetrics = Field(default_factory=dict)
    """Few last metrics."""
    log_tail: str = ""
    """Last 2 KiB of the first failed rank's log."""


class Progress(Model):
    """`progress.json`: where a running stage is; replaced atomically by rank 0."""

    step: Count
    """Completed steps (or rows)."""
    total: Count | None = None
    """Steps in all, where it is known."""
    unit: str = "steps"
    """What a step is."""
    phase: str = ""
    """What is going on inside the step: `generate`, `reward_wait`, `train`, `save`."""
    seconds_left: Finite | None = None
    """Estimated from this attempt's rate."""
    rate: Finite | None = None
    """Units per second of this attempt."""
    metrics: FewMetrics = Field(default_factory=dict)
    """Few last metrics, rounded."""
    updated_at: str = ""
    """RFC 3339 time of writing."""


def semantics_of(stage: StageSettings) -> int:
    """The number of what this code makes of a stage's settings. For the same settings a version
    that gives other results has a higher one, since none of the numbers it is the sum of is ever
    lowered."""
    settings, parts = stage.settings, []
    if isinstance(settings, (SFT, MathRL, CodeRL)) and settings.loading.dtype == "bfloat16":
        parts.append("bfloat16")
    if isinstance(settings, (MathRL, CodeRL)) and settings.stop.plateau is not None:
        parts.append("plateau")
    if isinstance(settings, Curate) and settings.pass_rate is not None:
        parts.append("passRate")
    return SEMANTICS[stage.kind] + sum(SEMANTICS_OF_PARTS[part] for part in parts)


def settings_for_key(settings: Model) -> dict[str, Any]:
    """The effective settings, after defaults, without what never changes results.

    Fields marked NOT_IN_KEY are left out at every depth, so that a new machine, cadence or
    micro-batch size reuses finished work; those marked IN_KEY_WHEN_SET, where they have their
    default.
    """
    out: dict[str, Any] = {}
    for name, info in type(settings).model_fields.items():
        extra = info.json_schema_extra
        place = extra.get("x-acereason-in-key") if isinstance(extra, dict) else None
        value = getattr(settings, name)
        default = info.get_default(call_default_factory=True)
        if place is False or (place == "whenSet" and value == default):
            continue
        out[info.alias or name] = _plain(value)
    return out


def _plain(value: Any) -> Any:
    if isinstance(value, Model):
        return settings_for_key(value)
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value
