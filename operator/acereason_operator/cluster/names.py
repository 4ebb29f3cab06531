"""Name of what a run has once: its Service, its NetworkPolicy. (Jobs: `planner/names.py`.)"""

from hashlib import sha256

from acereason_operator.api.run import AceReasonRun


def run_object_name(run: AceReasonRun) -> str:
    """`arr-<run>-<hash>`, at most 53 characters.

    A letter stands in front (a Service's name needs one, a run's does not). The hash is of the
    run's uid: a run that is made again must not meet the objects that are being removed with the
    old one, nor those of somebody else.
    """
    mark = sha256(run.metadata.uid.encode()).hexdigest()[:8]
    return f"arr-{run.metadata.name}-{mark}"
