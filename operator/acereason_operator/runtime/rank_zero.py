"""Where rank 0 of a running stage serves its progress."""

from collections.abc import Iterable, Mapping

from acereason_operator.api.run import AceReasonRun, Stage
from acereason_operator.api.status import RunStatus
from acereason_operator.cluster.labels import COMPLETION_INDEX
from acereason_operator.cluster.protocol import Object
from acereason_operator.cluster.rendering import Rendering
from acereason_operator.runtime.progress import Source


def address(pods: Iterable[Object]) -> str | None:
    """IP address of the running pod with index 0; None where there is none."""
    for pod in pods:
        index = (pod["metadata"].get("labels") or {}).get(COMPLETION_INDEX)
        runs = pod["status"].get("phase") == "Running"
        if index == "0" and runs and "deletionTimestamp" not in pod["metadata"]:
            ip: str | None = pod["status"].get("podIP")
            return ip
    return None


def sources(
    run: AceReasonRun, status: RunStatus, at: Mapping[str, tuple[str, str]], options: Rendering
) -> frozenset[Source]:
    """What can be asked of a run's stages that run.

    at: by name of a Job: its uid, and the address of its rank 0.
    """
    stages = {stage.name: stage for stage in run.spec.stages}
    return frozenset(
        Source(*at[entry.attempt.job], _port(stages[entry.name], options))
        for entry in status.stages
        if entry.state == "Running" and entry.attempt is not None and entry.attempt.job in at
    )


def _port(stage: Stage, options: Rendering) -> int:
    return stage.settings.telemetry.metrics_port or options.metrics_port
