"""How the service runs: one model, from which flags, environment variables and help are made."""

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, ValidationError

from acereason_trainer.config.model import Model

PREFIX = "ACEREASON_VERIFIER_"


class BadSettings(Exception):
    """A flag or variable is wrong; the text says which and why."""


def _cores() -> int:
    return len(os.sched_getaffinity(0))


class Settings(Model):
    """Settings of one process."""

    host: str = "127.0.0.1"
    """Address to listen on. It runs programs for whoever can reach it: 0.0.0.0 only where a network
    policy says who that is."""
    port: int = Field(default=8321, ge=0, le=65535)
    """Port to listen on; 0 takes a free one, which the log names."""
    code_workers: int = Field(default_factory=_cores, ge=1, le=4096)
    """Programs that run at once; unset: the cores of this process."""
    math_workers: int = Field(default_factory=lambda: max(1, _cores() // 4), ge=1, le=4096)
    """Symbolic comparisons at once; unset: a quarter of the cores."""
    queue: int = Field(default=16384, ge=1, le=1 << 20)
    """Jobs of each kind (math, code) that may wait; more are refused with 429 and Retry-After. The
    papers' step has 1,024 x 16 of them."""
    tests_mib: int = Field(default=1024, ge=1, le=1 << 20)
    """Memory for uploaded tests in MiB; what was used longest ago is forgotten first."""
    body_mib: int = Field(default=128, ge=1, le=4096)
    """Largest request in MiB; a larger one is refused with 413."""
    grace_seconds: float = Field(default=60.0, ge=0, le=3600)
    """From SIGTERM on, what was accepted is graded for this long; the rest is left to the trainer,
    who asks elsewhere. Stay 10 s below the pod's grace period."""


def read_settings(arguments: Sequence[str] | None, environment: Mapping[str, str]) -> Settings:
    """Settings from flags, then the environment, then defaults.

    Raises BadSettings; SystemExit for --help and unknown flags, as argparse does.
    """
    flags = vars(_parser().parse_args(arguments))
    given: dict[str, str] = {}
    for name in Settings.model_fields:
        value = flags[name] if flags[name] is not None else environment.get(_variable(name))
        if value is not None:
            given[name] = value
    try:
        return Settings.model_validate(given)
    except ValidationError as e:
        raise BadSettings("; ".join(_sentence(error) for error in e.errors())) from e


def _sentence(error: Any) -> str:
    name = str(error["loc"][0])
    # The outside name is the alias; flags and variables are made from the field's.
    field = next(n for n, info in Settings.model_fields.items() if name in (n, info.alias))
    return f"{_flag(field)} (or {_variable(field)}) is {error['input']!r}: {error['msg']}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="acereason-verifier",
        description="Check answers to math and code problems for trainers on other machines. "
        "Programs run in a sandbox; anyone who can reach the port can run one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Each setting can also stand in the environment, as in "
        f"{PREFIX}CODE_WORKERS=16.\n\n"
        "example:\n"
        "  acereason-verifier --host 0.0.0.0 --code-workers 16 --math-workers 4\n"
        "  curl http://localhost:8321/readyz\n"
        '  and in the stage:  verifier: {service: "http://verifier:8321"}\n\n'
        "exit codes: 0 stopped on request after the accepted work was done, 1 it cannot start, "
        "2 a setting is wrong",
    )
    for name, info in Settings.model_fields.items():
        default = "" if info.default_factory else f" (default: {info.default})"
        parser.add_argument(
            _flag(name),
            dest=name,
            metavar=name.rpartition("_")[2].upper(),
            help=" ".join((info.description or "").split()) + default,
        )
    return parser


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _variable(name: str) -> str:
    return PREFIX + name.upper()
