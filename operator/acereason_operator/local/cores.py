"""How many cores a stage takes, and which stages run at once.

`resources.requests.cpu` is the number of threads of a stage, so its bits do not depend on the
machine, and what stages are packed by. Without it a stage takes every core.
"""

import math
import os

from acereason_operator.api.quantities import cpu_count
from acereason_operator.api.run import AceReasonRunSpec, Stage

_THREAD_COUNTS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def machine_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def wanted_cores(spec: AceReasonRunSpec, stage: Stage | None, machine: int) -> float:
    """Cores that a stage asks for; all of the machine where it does not say, or is unknown."""
    resources = (stage.resources or spec.defaults.resources) if stage else None
    asked = resources.requests.get("cpu") if resources else None
    return float(machine) if asked is None else cpu_count(asked)


def fits(wanted: float, taken: float, machine: int) -> bool:
    """Whether a stage may start beside others. One that asks for more than there is runs alone."""
    return taken == 0 or taken + wanted <= machine


def thread_environment(cores: float) -> dict[str, str]:
    """What tells the libraries of a stage how many threads to use."""
    threads = str(max(1, math.ceil(cores)))
    return {**dict.fromkeys(_THREAD_COUNTS, threads), "TOKENIZERS_PARALLELISM": "false"}
