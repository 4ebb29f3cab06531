"""Names of the labels and annotations on what the operator makes in a cluster.

All of it carries MANAGED, which is the selector of every watch: the operator streams its own
objects and nobody else's.
"""

from acereason_operator.api.run import GROUP
from acereason_operator.planner.observed import Phase

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "acereason-operator"
MANAGED = {MANAGED_BY: MANAGER}
"""Selects everything that the operator makes."""

RUN = f"{GROUP}/run"
"""Name of the run."""
STAGE = f"{GROUP}/stage"
"""Name of the stage."""
ATTEMPT = f"{GROUP}/attempt"
"""Number of the attempt."""
PHASE = f"{GROUP}/phase"
"""`prepare` or `train`."""

STAGE_FILE = f"{GROUP}/stage-file"
"""Annotation of a pod: the stage file as JSON, which the container reads as a file."""

QUEUE = "kueue.x-k8s.io/queue-name"
"""Label of Kueue: the LocalQueue that admits a Job."""
QUEUE_PRIORITY = "kueue.x-k8s.io/priority-class"
"""Label of Kueue: the WorkloadPriorityClass of a Job."""

JOB_NAME = "batch.kubernetes.io/job-name"
"""Label that the Job controller puts on pods."""
COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
"""Label that the Job controller puts on an Indexed Job's pods; 0 is the node with rank 0."""


def of_run(run: str) -> dict[str, str]:
    """Labels of everything that belongs to a run."""
    return {**MANAGED, RUN: run}


def of_phase(run: str, stage: str, attempt: int, phase: Phase) -> dict[str, str]:
    """Labels of one phase of an attempt: its Job and its pods."""
    return {**of_run(run), STAGE: stage, ATTEMPT: str(attempt), PHASE: phase.lower()}
