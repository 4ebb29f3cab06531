"""Where jobs are done: by worker processes on this machine, or by a verifier service."""

import os
from typing import TYPE_CHECKING

from acereason_trainer.config.common import Verifier
from acereason_trainer.rewards.code import wall_seconds
from acereason_trainer.rewards.jobs import Setup
from acereason_trainer.rewards.pool import WorkerPool

if TYPE_CHECKING:
    from acereason_trainer.rewards.remote import RemotePool

SERVICE_VARIABLE = "ACEREASON_VERIFIER_URL"
"""Address of the service that `service: auto` means; unset or empty: there is none."""

_BACKSTOP_FACTOR, _BACKSTOP_SECONDS = 8, 60.0


def pool_for(setup: Setup) -> "WorkerPool | RemotePool":
    """Who does the jobs of a setup. A custom reward is code of this machine, so it is done here."""
    seconds = backstop_seconds(setup)
    url = None if setup.kind == "custom" else service_url(setup.verifier)
    if url is None:
        return WorkerPool(setup, seconds)
    # Every worker process imports this file, and none of them needs an HTTP client.
    from acereason_trainer.rewards.remote import RemotePool

    return RemotePool(setup, url, seconds)


def service_url(verifier: Verifier) -> str | None:
    """Address of the verifier service; None: local worker processes."""
    if verifier.service == "local":
        return None
    if verifier.service == "auto":
        return os.environ.get(SERVICE_VARIABLE) or None
    return verifier.service


def backstop_seconds(setup: Setup) -> float:
    """Wall-clock limit of a whole job, after which its worker is killed.

    The limits inside count CPU time and end it long before.
    """
    limits = setup.verifier
    if setup.kind == "custom":
        return limits.code.seconds_per_program
    if setup.kind == "math":
        return _BACKSTOP_FACTOR * limits.math_seconds + _BACKSTOP_SECONDS
    return wall_seconds(limits.code) + _BACKSTOP_SECONDS
