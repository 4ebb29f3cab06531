"""Kopf's watches, which feed the cache, and nothing else of Kopf.

`on.event` handlers alone cost no request: no annotation, no finalizer, no progress is ever written
on an object. What Kopf would compute and keep for the handlers that are not used (a copy of each
object's essence on every event) is switched off. Objects reach the cache as they come, a run that
has news goes into the queue, and all further work is the queue's.

Kopf runs in the operator's own event loop. A thread of its own would gain nothing (there is one
interpreter lock) and would put a switch of threads between an event and its reconcile. When Kopf
ends it cancels what was started in the loop after it, so it is started and ended last.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import kopf

from acereason_operator.api.run import GROUP
from acereason_operator.cluster.labels import MANAGED
from acereason_operator.cluster.protocol import JOB, POD, RUN, Kind, Object
from acereason_operator.runtime.relist import Relist
from acereason_operator.runtime.seen import RunKey, Seen

SERVER_TIMEOUT = 300.0
"""Seconds after which the API server ends a watch, which then goes on where it was: a connection
that has silently died does not live longer."""
IDLE = 0.2
"""Seconds that Kopf keeps the task of an object after its last event. Its default of 5 s holds
thousands of idle tasks after a list."""


Login = Callable[[], Awaitable[kopf.ConnectionInfo]]


class _NoEssence(kopf.DiffBaseStorage):
    """What Kopf compares objects by for handlers that are not used here: nothing."""

    def build(self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None) -> Any:
        return {}

    def fetch(self, *, body: kopf.Body) -> Any:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: Any) -> None:
        raise AssertionError("nothing is stored on objects")


class _NoProgress(kopf.ProgressStorage):
    """Where Kopf notes the progress of handlers that are not used here: nowhere."""

    def fetch(self, *, key: Any, body: kopf.Body) -> Any:
        return None

    def store(self, *, key: Any, record: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        raise AssertionError("nothing is stored on objects")

    def purge(self, *, key: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        raise AssertionError("nothing is stored on objects")

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: Any) -> None:
        raise AssertionError("nothing is stored on objects")

    def clear(self, *, essence: Any) -> Any:
        return essence


def watch_settings() -> kopf.OperatorSettings:
    """Kopf's settings."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.persistence.finalizer = f"{GROUP}/unused"
    settings.persistence.diffbase_storage = _NoEssence()
    settings.persistence.progress_storage = _NoProgress()
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.watching.server_timeout = SERVER_TIMEOUT
    settings.watching.client_timeout = SERVER_TIMEOUT + 10
    settings.watching.reconnect_backoff = 1.0
    settings.watching.chunk_size = 500
    settings.queueing.idle_timeout = IDLE
    managed = ",".join(f"{name}={value}" for name, value in MANAGED.items())
    for kind in (JOB, POD):
        settings.watching.label_selectors[kind.group, kind.version, kind.plural] = managed
    return settings


def registry_for(
    seen: Seen,
    relist: Relist,
    changed: Callable[[RunKey], None],
    heard: Callable[[Kind], None],
    login: Login,
) -> kopf.OperatorRegistry:
    """Handlers that feed the cache. heard: called for every event of a kind. login: asked for
    credentials at the start, and again when the API server does not take them any more."""

    registry = kopf.OperatorRegistry()

    async def on_login(**_: Any) -> kopf.ConnectionInfo:
        return await login()

    kopf.on.login(registry=registry, id="login")(on_login)
    for kind in (RUN, JOB, POD):
        handler = _handler(kind, seen, relist, changed, heard)
        kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, id=kind.plural)(
            handler
        )
    return registry


async def watch(
    registry: kopf.OperatorRegistry,
    namespaces: Sequence[str],
    stop: asyncio.Event,
    ready: asyncio.Event,
) -> None:
    """Watch until `stop` is set. Sets `ready` once everything of Kopf's is started."""
    logging.getLogger("kopf").setLevel(logging.WARNING)
    await kopf.operator(
        registry=registry,
        settings=watch_settings(),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=list(namespaces),
        stop_flag=stop,
        ready_flag=ready,
    )


def _handler(
    kind: Kind,
    seen: Seen,
    relist: Relist,
    changed: Callable[[RunKey], None],
    heard: Callable[[Kind], None],
) -> Callable[..., Any]:
    async def on_event(event: Any, **_: Any) -> None:
        whole: Object = event["object"]
        heard(kind)
        if event["type"] is None and seen.was_streamed(kind, whole):
            relist.soon(kind)
        if event["type"] == "DELETED":
            run = seen.take_deletion(kind, whole)
        else:
            run = seen.take(kind, whole, streamed=True)
        if run is not None:
            changed(run)

    return on_event
