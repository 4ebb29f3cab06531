"""What holds for a stage after `spec.defaults`: the stage's own word, else the defaults', else the
API's."""

from datetime import timedelta

from acereason_operator.api.run import AceReasonRunSpec, Deadlines, Retries, Stage
from acereason_operator.planner.context import Context
from acereason_operator.planner.times import parse_duration

GRACE = timedelta(seconds=30)
"""As a pod's, where nothing is said."""


def retries(spec: AceReasonRunSpec, stage: Stage) -> Retries:
    """Its two retry budgets."""
    return stage.retries or spec.defaults.retries or Retries()


def deadlines(spec: AceReasonRunSpec, stage: Stage) -> Deadlines:
    """When waiting for it ends."""
    return stage.deadlines or spec.defaults.deadlines or Deadlines()


def grace_period(spec: AceReasonRunSpec, stage: Stage) -> timedelta:
    """Time between SIGTERM and SIGKILL."""
    text = stage.grace_period or spec.defaults.grace_period
    return parse_duration(text) if text else GRACE


def nodes(spec: AceReasonRunSpec, stage: Stage, context: Context) -> int:
    """Pods of a train phase."""
    return 1 if context.one_process else (stage.nodes or spec.defaults.nodes or 1)


def ranks(spec: AceReasonRunSpec, stage: Stage, context: Context) -> int:
    """Processes of a pod: one for each GPU, or one on the CPU."""
    if context.one_process:
        return 1
    gpus = spec.defaults.gpus_per_node if stage.gpus_per_node is None else stage.gpus_per_node
    return max(gpus or 0, 1)
