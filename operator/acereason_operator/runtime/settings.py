"""Settings of the operator: one model, from flags and from the environment.

A flag wins over its environment variable, which wins over the default. `leaseNamespace` is the flag
`--lease-namespace` and the variable `ACEREASON_LEASE_NAMESPACE`. The chart sets variables.
"""

import argparse
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from acereason_trainer.config.forms import DNS_LABEL, DURATION
from acereason_trainer.config.model import Combination, Model
from pydantic import Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

PREFIX = "ACEREASON_"

EXAMPLE = (
    "example: acereason-operator --kubeconfig ~/.kube/config --namespace research"
    " --trainer-image registry.example/acereason-trainer:0.1.0"
    " --prepare-image registry.example/acereason-operator:0.1.0"
)


class Settings(Model):
    """How the operator runs."""

    trainer_image: str = Field(min_length=1, max_length=512)
    """Image of stages whose run names none."""
    prepare_image: str = Field(min_length=1, max_length=512)
    """Image of the prepare phase: the operator's own."""
    namespace: list[str] = Field(default_factory=list)
    """Namespaces to serve, comma-separated; none: the whole cluster."""
    kubeconfig: Path | None = None
    """A kubeconfig file; unset: the pod's service account, or kubectl's file outside a pod."""
    lease_namespace: str | None = Field(default=None, pattern=DNS_LABEL)
    """Namespace of the Lease; unset: the pod's own, or `default` outside a pod."""
    lease_name: str = Field(default="acereason-operator", pattern=DNS_LABEL)
    """Name of the Lease: operators that share it take turns."""
    workers: int = Field(default=8, ge=1, le=256)
    """Runs that are reconciled at the same time. They mostly wait for the API server: 8 keep it
    busy."""
    writes_per_second: float = Field(default=50.0, gt=0)
    """Rate of writes over a longer time, as controllers set it."""
    write_burst: int = Field(default=100, ge=1)
    """Writes that may go out at once after a quiet time."""
    relist_seconds: float = Field(default=300.0, ge=1)
    """Between two lists that correct the watches. Each costs one list of runs, Jobs and Pods."""
    progress_seconds: float = Field(default=30.0, ge=1)
    """Between two reads of a running stage's progress, and between two notes of it in status."""
    probe_host: str = ""
    """Address of /healthz, /readyz and /metrics; empty: all."""
    probe_port: int = Field(default=8080, ge=0, le=65535)
    """Port of the same; 0: any free one."""
    metrics_port: int = Field(default=9400, ge=1, le=65535)
    """Port at which rank 0 of a stage serves /metrics and /progress, unless the stage names one."""
    store_mount: str = Field(default="/store", pattern="^/.+")
    """Where stage pods have the run's claim."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """Of stage pods, unless a podTemplate says otherwise."""
    pod_security: Literal["restricted", "image"] = "restricted"
    """`restricted`: stage pods meet that standard, with a root that is read-only but for /tmp.
    `image`: the image and the cluster decide."""
    pod_user: int = Field(default=65532, ge=-1)
    """User and group of stage pods; -1: the cluster assigns them (OpenShift)."""
    verifier_url: str = Field(default="", pattern=r"^(https?://\S+)?$", max_length=512)
    """Verifier service that `service: auto` means in stage pods, as http://host:port; empty: none,
    answers are checked beside the trainer."""
    gpu_resource: str = Field(default="nvidia.com/gpu", min_length=1, max_length=253)
    """Extended resource that gpusPerNode asks for."""
    settling: str = Field(default="30s", pattern=DURATION)
    """Waited after the first bad end of a pod before anyone is blamed: what explains it often shows
    later."""
    first_backoff: str = Field(default="10s", pattern=DURATION)
    """Wait before the first retry of a stage; it doubles with each, up to 5 minutes."""
    log_level: Literal["debug", "info", "warning"] = "info"
    """What is logged."""

    @model_validator(mode="after")
    def _burst_covers_a_second_of_writes(self) -> "Settings":
        if self.write_burst < self.writes_per_second:
            raise Combination(
                f"{self.write_burst} is below one second of writes ({self.writes_per_second:g});"
                " use at least that",
                "writeBurst",
            )
        return self


class WrongSettings(Exception):
    """Settings that cannot be used: one sentence."""


def read_settings(words: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Settings from the command line and the environment. Raises WrongSettings; `--help` prints
    and raises SystemExit(0)."""
    args = vars(_parser().parse_args(words))
    given: dict[str, Any] = {}
    for name, info in Settings.model_fields.items():
        text = args[name] if args[name] is not None else environment.get(variable(name))
        if text is not None and (text or name == "probe_host"):
            given[info.alias or name] = _read(text, info.annotation)
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        raise WrongSettings(_sentence(error)) from None


def flag(name: str) -> str:
    """The flag of a setting."""
    return f"--{name.replace('_', '-')}"


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{name.upper()}"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> typing.NoReturn:
        raise WrongSettings(f"{message}; see acereason-operator --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="acereason-operator",
        description="Reconcile AceReasonRuns on a Kubernetes cluster. Each setting is a flag or an"
        " environment variable; the flag wins.",
        epilog=EXAMPLE,
    )
    for name, info in Settings.model_fields.items():
        said = " ".join((info.description or "").split()).replace("%", "%%")
        parser.add_argument(
            flag(name),
            dest=name,
            default=None,
            metavar="VALUE",
            help=f"{said} {_default(info)}[{variable(name)}]",
        )
    return parser


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "Required. "
    value = info.get_default(call_default_factory=True)
    return f"Default: {value}. " if value not in (None, "", []) else ""


def _read(text: str, annotation: Any) -> Any:
    if typing.get_origin(annotation) is list:
        return [part.strip() for part in text.split(",") if part.strip()]
    if isinstance(annotation, types.UnionType) and Path in typing.get_args(annotation):
        return Path(text).expanduser()
    return text


def _sentence(error: ValidationError) -> str:
    """The first thing that is wrong, by the names that a person used."""
    first = error.errors(include_url=False)[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, Combination) and cause.fields:
        place, said = cause.fields[0], str(cause)
    else:
        place = str(first["loc"][0]) if first["loc"] else ""
        wrong = f"{first['input']!r}: {first['msg']}"
        said = "is required" if first["type"] == "missing" else wrong
    name = next(n for n, i in Settings.model_fields.items() if place in (i.alias, n))
    return f"{flag(name)} ({variable(name)}): {said}; see acereason-operator --help"
