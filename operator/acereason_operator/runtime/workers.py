"""The workers: take a run from the queue, reconcile it, and say when it comes back.

What goes wrong on the way is tried again and stands in the operator's log. Where it goes on, people
are told as well: a webhook that answers nothing looks to a researcher like an operator that sleeps.
"""

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime

from acereason_operator.cluster.protocol import ClusterError, Conflict
from acereason_operator.runtime.guarded import NotLeading
from acereason_operator.runtime.metrics import Metrics
from acereason_operator.runtime.run_reader import UnreadableStatus
from acereason_operator.runtime.seen import RunKey
from acereason_operator.runtime.work_queue import WorkQueue

_log = logging.getLogger(__name__)

Reconcile = Callable[[RunKey], Awaitable[datetime | None]]
Tell = Callable[[RunKey, str], Awaitable[None]]
"""Tells people of a run what is wrong, if it can."""

TOLD_AT, TOLD_EVERY = 6, 30
"""Failures in a row of one run: after the first so many (8 to 16 s, by the queue's backoff) a
trouble is no hiccup, and then about once an hour, which is how long Events are kept."""


async def work(
    queue: WorkQueue[RunKey],
    reconcile: Reconcile,
    tell: Tell,
    now: Callable[[], datetime],
    metrics: Metrics,
) -> None:
    """One worker, until the queue is closed."""
    while (key := await queue.take()) is not None:
        with metrics.work.time():
            result = await _one(queue, reconcile, tell, key, now)
        metrics.reconciles.labels(result).inc()


async def _one(
    queue: WorkQueue[RunKey],
    reconcile: Reconcile,
    tell: Tell,
    key: RunKey,
    now: Callable[[], datetime],
) -> str:
    try:
        again_at = await reconcile(key)
    except NotLeading:
        queue.done(key)  # whoever leads next looks at every run
        return "not_leading"
    except Conflict:
        queue.failed(key)
        return "conflict"
    except (ClusterError, UnreadableStatus) as error:
        _log.warning("run %s: %s", "/".join(key), error)
        await _tell_in_time(queue, tell, key, str(error))
        patience = error.retry_after if isinstance(error, ClusterError) else None
        queue.failed(key, patience or 0.0)
        return "error"
    except Exception:  # noqa: BLE001 a fault that one run brings to light must not stop the others
        await _tell_in_time(queue, tell, key, "a fault of the operator, whose log has it")
        queue.failed(key)
        _log.exception("run %s: a fault of the operator; it is tried again", "/".join(key))
        return "error"
    queue.done(key)
    if again_at is not None:
        queue.add_after(key, (again_at - now()).total_seconds())
    return "done"


async def _tell_in_time(queue: WorkQueue[RunKey], tell: Tell, key: RunKey, trouble: str) -> None:
    if (queue.failures(key) + 1) % TOLD_EVERY == TOLD_AT:
        await tell(key, trouble)
