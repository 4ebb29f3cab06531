"""The workers: take a run from the queue, reconcile it, and say when it comes back."""

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


async def work(
    queue: WorkQueue[RunKey],
    reconcile: Reconcile,
    now: Callable[[], datetime],
    metrics: Metrics,
) -> None:
    """One worker, until the queue is closed."""
    while (key := await queue.take()) is not None:
        with metrics.work.time():
            result = await _one(queue, reconcile, key, now)
        metrics.reconciles.labels(result).inc()


async def _one(
    queue: WorkQueue[RunKey], reconcile: Reconcile, key: RunKey, now: Callable[[], datetime]
) -> str:
    try:
        again_at = await reconcile(key)
    except NotLeading:
        queue.done(key)  # whoever leads next looks at every run
        return "not_leading"
    except Conflict:
        queue.failed(key)
        return "conflict"
    except ClusterError as error:
        queue.failed(key, error.retry_after or 0.0)
        _log.warning("run %s: %s", "/".join(key), error)
        return "error"
    except UnreadableStatus as error:
        queue.failed(key)
        _log.warning("run %s: %s", "/".join(key), error)
        return "error"
    except Exception:  # noqa: BLE001 a fault that one run brings to light must not stop the others
        queue.failed(key)
        _log.exception("run %s: a fault of the operator; it is tried again", "/".join(key))
        return "error"
    queue.done(key)
    if again_at is not None:
        queue.add_after(key, (again_at - now()).total_seconds())
    return "done"
