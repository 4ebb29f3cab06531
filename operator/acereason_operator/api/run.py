"""`AceReasonRun`, the one resource of acereason.dev/v1alpha1: what a user asks for."""

from typing import Annotated, Any, Literal

from acereason_trainer.config.forms import (
    DNS_LABEL,
    DURATION,
    ENVIRONMENT_NAME,
    OBJECT_STORE,
    QUANTITY,
    SHORT_NAME,
)
from acereason_trainer.config.model import Combination, Model
from acereason_trainer.config.one_of import OneOf
from acereason_trainer.config.problems import path_text
from acereason_trainer.config.sources import Inputs, ModelSource, StageName
from acereason_trainer.config.stage_file import StageSettings
from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from acereason_operator.api.checks import Finding, findings
from acereason_operator.api.durations import seconds
from acereason_operator.api.facts import facts_of
from acereason_operator.api.quantities import amount, cpu_count

GROUP = "acereason.dev"
VERSION = "v1alpha1"
KIND = "AceReasonRun"
PLURAL = "acereasonruns"


class StagesDoNotFit(ValueError):
    """Rules between the parts of a run that do not hold."""

    def __init__(self, found: list[Finding]) -> None:
        super().__init__("\n".join(f"{path_text(path)}: {what}" for path, what in found))


def _an_amount(value: Any) -> Any:
    if isinstance(value, float):  # a laptop must not take what an API server refuses
        raise ValueError(
            f"{value} is a fraction, which the API server takes as text alone; write it in quotes, "
            f'"{value}", or with a suffix, as in 500m'
        )
    if not isinstance(value, (str, int)):
        raise ValueError(f"{value!r} is not an amount; write a number or text, as in 4 or 16Gi")
    amount(value)
    if len(str(value)) > LONGEST_AMOUNT:
        raise ValueError(f"has {len(str(value))} characters; give at most {LONGEST_AMOUNT}")
    return value


LONGEST_AMOUNT = 32
Duration = Annotated[str, Field(pattern=DURATION, max_length=32)]
"""A Go duration: `90s`, `1h30m`."""
Amount = Annotated[
    Annotated[str, Field(pattern=QUANTITY, max_length=LONGEST_AMOUNT)] | int,
    BeforeValidator(_an_amount),
]
"""A Kubernetes quantity: int-or-string, as in a container."""


class ClaimTemplate(Model):
    """A PersistentVolumeClaim that is made once and has no owner: deleting a run keeps it."""

    name: str = Field(pattern=DNS_LABEL)
    """Name of the claim, in the run's namespace; runs that name the same one share its store."""
    storage: str = Field(pattern=QUANTITY, max_length=LONGEST_AMOUNT)
    """Size. A 7B checkpoint is 15 GB in bfloat16, a trainer state of it about 90 GB: allow for
    `saving.keep` states and one artifact of each stage."""
    storage_class_name: str | None = Field(default=None, max_length=253)
    """Storage class; unset: the cluster's default."""
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany"] = "ReadWriteMany"
    """ReadWriteMany, since the stages of a run rarely land on one node; ReadWriteOnce is enough
    where every stage has one node and the volume follows it."""


class Storage(OneOf):
    """Where artifacts and states live: exactly one member."""

    claim: str | None = Field(default=None, pattern=DNS_LABEL)
    """Name of an existing PersistentVolumeClaim."""
    claim_template: ClaimTemplate | None = None
    """A claim to be made where it does not exist."""
    directory: str | None = Field(default=None, min_length=1, max_length=1024)
    """A directory, relative to the run file: runs on one machine."""
    object_store: str | None = Field(default=None, pattern=OBJECT_STORE, max_length=1024)
    """An object-store prefix, `s3://bucket/prefix`; the stages' service account may read and write
    it."""


class Resources(Model):
    """Compute resources of a stage's pods, as in a container."""

    requests: dict[str, Amount] = Field(default_factory=dict, max_length=32)
    """Guaranteed amounts. On a laptop, `cpu` is the number of threads of a stage and what the
    local executor packs stages by."""
    limits: dict[str, Amount] = Field(default_factory=dict, max_length=32)
    """Upper bounds. Without `cpu`, a stage may use what its node has to spare."""

    @model_validator(mode="after")
    def _some_cpu(self) -> "Resources":
        for where in ("requests", "limits"):
            asked = getattr(self, where).get("cpu")
            if asked is not None:
                try:
                    cpu_count(asked)
                except ValueError as error:
                    raise Combination(str(error), f"{where}.cpu") from None
        return self


class EnvVar(Model):
    """An environment variable of the stage's container."""

    name: str = Field(pattern=ENVIRONMENT_NAME, max_length=256)
    """Name of the variable; one of the defaults' variables with the same name is replaced."""
    value: str | None = Field(default=None, max_length=32768)
    """Literal value."""
    value_from: dict[str, Any] | None = None
    """As in a container: Secrets by reference only, no value is ever copied."""

    @model_validator(mode="after")
    def _one(self) -> "EnvVar":
        if (self.value is None) == (self.value_from is None):
            raise Combination(
                f"{self.name} needs exactly one of value and valueFrom", "value", "valueFrom"
            )
        return self


class Retries(Model):
    """Two budgets: what the user's code spends and what the infrastructure spends."""

    user: int = Field(default=2, ge=0, le=100)
    """Further attempts after failures that the stage's own code or settings caused. 2, since what
    failed three times alike fails a fourth time."""
    infrastructure: int = Field(default=20, ge=0, le=1000)
    """Further attempts after preemption, lost nodes, lost peers. 20, since a spot node may be
    taken every few hours of a week's stage."""


class Deadlines(Model):
    """When waiting ends. Unset members end it for pods of several nodes, and for what hangs."""

    pending: Duration | None = None
    """An attempt whose pods are not all running after so long gives them back and tries again
    later: half a gang holds GPUs for nothing, and two halves wait for each other. Unset: 30m with
    several nodes, time to add some and to pull a large image; one node waits."""
    no_progress: Duration | None = None
    """The launcher ends an attempt whose step does not advance for so long. Set it to a few times
    the slowest step; `0s`: it never does. Unset: 2h, or ten times as long as a step, or a phase of
    it, has taken at most in this attempt, where that is more."""
    active: Duration | None = None
    """The stage fails when its attempts have run so long together. Unset: no limit."""

    @model_validator(mode="after")
    def _after_the_start(self) -> "Deadlines":
        for name, given in (("pending", self.pending), ("active", self.active)):
            if given is not None and seconds(given) == 0:
                raise Combination(
                    f"{given} would end every attempt at once; use more, or leave it out", name
                )
        return self


class Overrides(Model):
    """What `spec.defaults` sets for every stage and a stage may replace."""

    image: str | None = Field(default=None, min_length=1, max_length=512)
    """Trainer image. Default: the one the operator was installed with."""
    nodes: int | None = Field(default=None, ge=1, le=4096)
    """Pods of an attempt, each on a node of its own. Default: 1."""
    gpus_per_node: int | None = Field(default=None, ge=0, le=64)
    """GPUs of each pod: a rank is started for each. Default: 0, one rank on the CPU."""
    resources: Resources | None = None
    """CPU, memory, devices of each pod."""
    env: list[EnvVar] = Field(default_factory=list, max_length=128)
    """Environment of the stage's container, added to the defaults' by name."""
    pod_template: dict[str, Any] | None = Field(
        default=None, json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}
    )
    """A partial PodTemplate merged into ours by container name: volumes,
    tolerations, affinity, service account, whatever Kubernetes can express."""
    prepare_pod_template: dict[str, Any] | None = Field(
        default=None, json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}
    )
    """A partial PodTemplate for the pod that prepares an attempt on a CPU. It has podTemplate's
    volumes, credentials and tolerations anyway; this says where it goes (nodeSelector, affinity)
    and what its container `prepare` gets (resources)."""
    retries: Retries | None = None
    """Retry budgets. Default: 2 for the user, 20 for the infrastructure."""
    deadlines: Deadlines | None = None
    """When waiting ends. Default: for pods of several nodes after 30m, and for what hangs."""
    grace_period: Duration | None = None
    """Time between SIGTERM and SIGKILL. Where it exceeds the measured publishing time, the last
    step is kept, else the last periodic state stands. Default: 30s, as for any pod."""

    @model_validator(mode="after")
    def _one_value_each(self) -> "Overrides":
        names = [variable.name for variable in self.env]
        for i, name in enumerate(names):
            if name in names[:i]:
                raise Combination(
                    f"{name} is also env[{names.index(name)}]; set it once", f"env[{i}].name"
                )
        return self


class Stage(Overrides, StageSettings):
    """One step of the recipe: a name, exactly one kind, what it needs, and overrides."""

    name: StageName
    """Unique in the run; a DNS label of at most 40 characters."""
    needs: list[StageName] | None = Field(default=None, max_length=32)
    """Stages that must be complete first. Default: the stage above; [] for none."""
    inputs: Inputs = Inputs()
    """What it reads; whatever is left out is the newest of its kind along `needs`."""
    suspend: bool = False
    """Hold this stage back (and stop it where it runs). If it has failed, it is tried again once it
    is let go."""


class Retention(Model):
    """What garbage collection may remove of a finished run."""

    keep_states: Literal["none", "newest", "all"] = "newest"
    """Trainer states of finished stages, and answers of those that measure, which only `none`
    gives up. `newest`, since it is enough to publish a stage again whose artifact was lost."""
    keep_intermediate: Literal["all", "final"] = "all"
    """Artifacts of stages that are not the last of their kind. `all`, since they are what lineage
    and reuse rest on; `final` saves space."""


class Queue(Model):
    """Admission of the stage Jobs by Kueue."""

    name: str = Field(pattern=DNS_LABEL)
    """LocalQueue of the stage Jobs, in the run's namespace."""
    priority_class: str | None = Field(default=None, max_length=253)
    """WorkloadPriorityClass of the Jobs; unset: the queue's own order."""


class AceReasonRunSpec(Model):
    """What is wanted."""

    model: ModelSource
    """The base model; imported first, as an artifact with a digest."""
    storage: Storage
    """Where artifacts and states live."""
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    """Enters every random draw and the stage keys: another seed is another run of everything."""
    defaults: Overrides = Overrides()
    """What every stage gets unless it says otherwise."""
    stages: list[Stage] = Field(min_length=1, max_length=64)
    """The recipe. A stage needs the one above it unless it says otherwise."""
    suspend: bool = False
    """Stop the run; artifacts and states stay, and it goes on from them. Stages that have failed
    are tried again then, with new budgets."""
    ttl_after_finished: Duration | None = None
    """Remove the run's Jobs so long after it finished; unset: keep them."""
    retention: Retention = Retention()
    """What may be collected once the run is finished."""
    queue: Queue | None = None
    """Admit the stage Jobs through Kueue; unset: they start at once. Ignored on a laptop."""

    @model_validator(mode="after")
    def _stages_fit_together(self) -> "AceReasonRunSpec":
        found = findings(
            facts_of(self.model_dump(by_alias=True, exclude_unset=True, exclude_none=True))
        )
        if found:
            raise StagesDoNotFit(found)
        return self


class ObjectMeta(Model):
    """The part of an object's metadata that a run file may set."""

    model_config = ConfigDict(extra="ignore")

    name: str = Field(pattern=SHORT_NAME)
    """At most 40 characters: Job and Service names are made from it."""
    namespace: str | None = None
    """Namespace on a cluster; ignored on a laptop."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels of the run."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """Annotations of the run."""
    generation: int = 0
    """Raised by the API server (or the local executor) when the spec changes."""
    uid: str = ""
    """Set by the API server."""


class AceReasonRun(Model):
    """A base model, a recipe, a trained and evaluated reasoner."""

    api_version: Literal["acereason.dev/v1alpha1"]
    """Always acereason.dev/v1alpha1."""
    kind: Literal["AceReasonRun"]
    """Always AceReasonRun."""
    metadata: ObjectMeta
    """Name and labels."""
    spec: AceReasonRunSpec
    """What is wanted."""
    status: dict[str, Any] | None = None
    """Written by the operator; ignored in files."""
