"""What differs between a cluster and a laptop, as data: all that the planner knows of either."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(frozen=True)
class Context:
    """One environment in which plans are carried out."""

    store: str
    """Root of the store as stages see it: a directory (a mount path on a cluster) or a URI."""
    resolve: Callable[[str], str]
    """Absolute form of a path of the run file; a pure mapping."""
    namespace: str = "default"
    """Used where the run names none; `local` on a laptop."""
    settling: timedelta = timedelta(seconds=30)
    """Waited after the first bad end of a pod before anyone is blamed: what explains it (a node
    that is NotReady, a preempted peer) often shows later. Zero where nothing is disrupted."""
    first_backoff: timedelta = timedelta(seconds=10)
    """Wait before the first retry of a budget; doubles from there."""
    longest_backoff: timedelta = timedelta(minutes=5)
    """Doubling ends here."""
    progress_every: timedelta = timedelta(seconds=15)
    """Least time between two notes of a running stage's step in status."""
    log_hint: str = "kubectl logs -n {namespace} {pod}"
    """How a person reads the log of a failed phase. Format fields: run, namespace, stage, attempt,
    phase (prepare or train), job, pod, store."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """By stage that is not carried out here and now, though nobody suspended it: why."""
    one_process: bool = False
    """A laptop: a stage is one process, `nodes` and `gpusPerNode` mean nothing."""
