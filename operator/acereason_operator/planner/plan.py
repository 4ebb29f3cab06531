"""plan(): from what is wanted and what is seen to what is decided and what is to be done."""

from dataclasses import dataclass
from datetime import datetime

from acereason_operator.api.run import AceReasonRun
from acereason_operator.api.status import RunStatus
from acereason_operator.planner.actions import Action
from acereason_operator.planner.context import Context
from acereason_operator.planner.observed import Observed


@dataclass(frozen=True)
class Plan:
    """A decision, and what follows from it."""

    status: RunStatus
    """Written first, under a precondition that nobody wrote since it was read."""
    actions: tuple[Action, ...]
    """Carried out after the status is written, in this order."""
    requeue_at: datetime | None
    """When to look again even if nothing is seen to change; None: no need."""


def plan(
    run: AceReasonRun, status: RunStatus, observed: Observed, now: datetime, context: Context
) -> Plan:
    """Decide for one run at one moment. Total, pure and deterministic.

    Intent before effect: whoever carries out a plan writes `plan.status` first (only if it differs
    from what was read), then performs the actions in order, and calls again when something changes
    or at `requeue_at`. A crash anywhere in between, and a plan carried out twice or late, are
    harmless. `now` has a time zone.
    """
    raise NotImplementedError
