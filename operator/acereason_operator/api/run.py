"""`AceReasonRun`, the one resource of acereason.dev/v1alpha1: what a user asks for."""

from typing import Annotated, Any, Literal

from acereason_trainer.config.common import OneOf
from acereason_trainer.config.forms import (
    DNS_LABEL,
    DURATION,
    ENVIRONMENT_NAME,
    OBJECT_STORE,
    QUANTITY,
    SHORT_NAME,
)
from acereason_trainer.config.model import Combination, Model
from acereason_trainer.config.sources import Inputs, ModelSource, StageName
from acereason_trainer.config.stage_file import StageSettings
from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from acereason_operator.api.checks import Finding, findings
from acereason_operator.api.durations import seconds
from acereason_operator.api.facts import facts_of
from acereason_operator.api.problems import path_text
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
    if not isinstance(value, (str, int, float)):
        raise ValueError(f"{value!r} is not an amount; write a number or text, as in 4 or 16Gi")
    amount(value)
    return value


Duration = Annotated[str, Field(pattern=DURATION, max_length=32)]
"""A Go duration: `90s`, `1h30m`."""
Amount = Annotated[str | int | float, BeforeValidator(_an_amount)]
"""A Kubernetes quantity."""


class ClaimTemplate(Model):
    """A PersistentVolumeClaim that is made once and has no owner: deleting a run keeps it."""

    name: str = Field(pattern=DNS_LABEL)
    """Name of the claim."""
    storage: str = Field(pattern=QUANTITY)
    """Size, as a quantity."""
    storage_class_name: str | None = None
    """Storage class; unset: the cluster's default."""
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany"] = "ReadWriteMany"
    """ReadWriteMany where stages use several nodes."""


class Storage(OneOf):
    """Where artifacts and states live: exactly one member."""

    claim: str | None = Field(default=None, pattern=DNS_LABEL)
    """An existing PersistentVolumeClaim."""
    claim_template: ClaimTemplate | None = None
    """A claim to be made where it does not exist."""
    directory: str | None = Field(default=None, min_length=1, max_length=1024)
    """A directory, relative to the run file: runs on one machine."""
    object_store: str | None = Field(default=None, pattern=OBJECT_STORE)
    """An object-store prefix."""


class Resources(Model):
    """Compute resources of a stage's pods, as in a container."""

    requests: dict[str, Amount] = Field(default_factory=dict, max_length=32)
    """Guaranteed amounts. On a laptop, `cpu` is the number of threads of a stage and what the
    local executor packs stages by."""
    limits: dict[str, Amount] = Field(default_factory=dict, max_length=32)
    """Upper bounds."""

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

    name: str = Field(pattern=ENVIRONMENT_NAME)
    """Name."""
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
    """Attempts after failures that the stage's own code or settings caused."""
    infrastructure: int = Field(default=20, ge=0, le=1000)
    """Attempts after preemption, lost nodes, lost peers."""


class Deadlines(Model):
    """When waiting ends. Unset members never end it."""

    pending: Duration | None = None
    """An attempt whose pods are not all running by then releases them and tries again later."""
    no_progress: Duration | None = None
    """The launcher ends an attempt whose step does not advance for so long."""
    active: Duration | None = None
    """The stage fails when its attempts ran so long together."""

    @model_validator(mode="after")
    def _after_the_start(self) -> "Deadlines":
        for name, given in (
            ("pending", self.pending),
            ("noProgress", self.no_progress),
            ("active", self.active),
        ):
            if given is not None and seconds(given) == 0:
                raise Combination(
                    f"{given} would end every attempt at once; use more, or leave it out", name
                )
        return self


class Overrides(Model):
    """What `spec.defaults` sets for every stage and a stage may replace."""

    image: str | None = Field(default=None, min_length=1, max_length=512)
    """Trainer image."""
    nodes: int | None = Field(default=None, ge=1, le=4096)
    """Pods of an attempt."""
    gpus_per_node: int | None = Field(default=None, ge=0, le=64)
    """GPUs of each pod; a rank is started for each, or one on the CPU."""
    resources: Resources | None = None
    """CPU, memory, devices."""
    env: list[EnvVar] = Field(default_factory=list, max_length=128)
    """Environment, added to the defaults' by name."""
    pod_template: dict[str, Any] | None = Field(
        default=None, json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}
    )
    """A partial PodTemplate merged into ours by container name."""
    retries: Retries | None = None
    """Retry budgets."""
    deadlines: Deadlines | None = None
    """Deadlines."""
    grace_period: Duration | None = None
    """Time between SIGTERM and SIGKILL; at least the time that publishing takes."""

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
    """Hold this stage back (and stop it where it runs)."""


class Retention(Model):
    """What garbage collection may remove of a finished run."""

    keep_states: Literal["none", "newest", "all"] = "newest"
    """Trainer states of finished stages."""
    keep_intermediate: Literal["all", "final"] = "all"
    """Artifacts of stages that are not the last of their kind."""


class Queue(Model):
    """Kueue."""

    name: str = Field(pattern=DNS_LABEL)
    """LocalQueue of the stage Jobs."""
    priority_class: str | None = None
    """WorkloadPriorityClass."""


class AceReasonRunSpec(Model):
    """What is wanted."""

    model: ModelSource
    """The base model; imported first, as an artifact with a digest."""
    storage: Storage
    """Where artifacts and states live."""
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    """Enters every random draw and the stage keys."""
    defaults: Overrides = Overrides()
    """Overrides for every stage."""
    stages: list[Stage] = Field(min_length=1, max_length=64)
    """The recipe, in order."""
    suspend: bool = False
    """Stop the run; artifacts and states stay, and it goes on from them."""
    ttl_after_finished: Duration | None = None
    """Remove the run's Jobs so long after it finished; unset: keep them."""
    retention: Retention = Retention()
    """What may be collected once the run is finished."""
    queue: Queue | None = None
    """Kueue."""

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
    """Namespace on a cluster."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """Annotations."""
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
