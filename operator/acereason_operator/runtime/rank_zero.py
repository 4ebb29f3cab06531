"""Where rank 0 of a running stage serves its progress."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from acereason_operator.api.run import AceReasonRun, Stage
from acereason_operator.api.status import RunStatus
from acereason_operator.cluster.labels import COMPLETION_INDEX
from acereason_operator.cluster.protocol import Object
from acereason_operator.cluster.rendering import Rendering
from acereason_operator.runtime.progress import Source


@dataclass(frozen=True)
class RankZero:
    """Where the first rank of a Job runs."""

    job: str
    """uid."""
    pod: str
    """Name."""
    address: str
    """IP address."""


def rank_zero(job: str, pods: Iterable[Object]) -> RankZero | None:
    """The running pod with index 0 of a Job, by its uid; None where there is none."""
    for pod in pods:
        index = (pod["metadata"].get("labels") or {}).get(COMPLETION_INDEX)
        runs = pod["status"].get("phase") == "Running"
        if index == "0" and runs and "deletionTimestamp" not in pod["metadata"]:
            ip = pod["status"].get("podIP")
            return RankZero(job, pod["metadata"]["name"], ip) if ip else None
    return None


def sources(
    run: AceReasonRun, status: RunStatus, at: Mapping[str, RankZero], options: Rendering
) -> frozenset[Source]:
    """What can be asked of a run's stages that run. at: by name of a Job."""
    stages = {stage.name: stage for stage in run.spec.stages}
    running = [
        (at[entry.attempt.job], _port(stages[entry.name], options))
        for entry in status.stages
        if entry.state == "Running" and entry.attempt is not None and entry.attempt.job in at
    ]
    return frozenset(Source(rank.job, rank.pod, rank.address, port) for rank, port in running)


def _port(stage: Stage, options: Rendering) -> int:
    return stage.settings.telemetry.metrics_port or options.metrics_port
