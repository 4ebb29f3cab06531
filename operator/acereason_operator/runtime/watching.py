"""Kopf's watches, which feed the cache, and nothing else of Kopf.

`on.event` handlers alone cost no request: no annotation, no finalizer, no progress is ever written
on an object. What Kopf would compute and keep for the handlers that are not used (a copy of each
object's essence on every event) is switched off. Objects reach the cache as they come, a run that
has news goes into the queue, and all further work is the queue's.

Kopf runs in a thread and an event loop of its own. It ends as a whole where a watch gets an answer
that it does not expect (a 500 of a server that is being restarted), and cancels whatever was
started in its loop meanwhile, also inside other people's connections. Here that ends nothing else:
it is started again, and the lists keep the cache right until then.

It asks only once, as it starts, which kinds the server has. A CRD that is put in its place again
(an uninstall and an install, a server whose discovery is not complete yet) would never be watched,
so a start that finds a kind missing is given up for another one.
"""

import asyncio
import logging
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from typing import Any

import kopf
from kopf._cogs.structs.references import Insights  # of a parameter of kopf.operator

from acereason_operator.api.run import GROUP
from acereason_operator.cluster.labels import MANAGED
from acereason_operator.cluster.protocol import JOB, POD, RUN, Kind, Object

_log = logging.getLogger(__name__)

SERVER_TIMEOUT = 300
"""Seconds (whole ones: it is sent as it stands) after which the API server ends a watch, which
then goes on where it was: a connection that has silently died does not live longer."""
AGAIN = 2.0
"""Seconds after which watches that ended begin anew."""
ENDING = 10.0
"""Seconds that the thread gets to end; the process does not wait for it longer."""
IDLE = 0.2
"""Seconds that Kopf keeps the task of an object after its last event. Its default of 5 s holds
thousands of idle tasks after a list."""
CHUNK = 50
"""Objects of one page of the list with which a watch begins. Kopf gives each of them a task and
holds it for IDLE seconds; with 500, half of the operator's memory was what these lists had once
taken."""

BACKOFFS = (1, 1, 2, 3, 5, 8, 13, 20)
"""Seconds between the tries of a list or a watch that is refused or not answered; the last one for
ever: when Kopf gives one up, it ends all of them, also those of the other namespaces."""

_KINDS = (RUN, JOB, POD)

Login = Callable[[], Awaitable[kopf.ConnectionInfo]]


@dataclass(frozen=True, kw_only=True)
class NamedServer(kopf.ConnectionInfo):
    """A server whose certificate may be for another name than that by which it is reached
    (`tls-server-name` of a kubeconfig), which Kopf has no setting for."""

    tls_server_name: str | None = None

    def as_ssl_context(self) -> ssl.SSLContext:
        """See kopf.ConnectionInfo."""
        context = super().as_ssl_context()
        if self.tls_server_name is None:
            return context
        plain: Callable[..., ssl.SSLObject] = context.wrap_bio

        def wrap_bio(*bios: ssl.MemoryBIO, **options: Any) -> ssl.SSLObject:
            return plain(*bios, **{**options, "server_hostname": self.tls_server_name})

        context.wrap_bio = wrap_bio  # type: ignore[assignment,method-assign]
        return context


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


class _Backoffs(Iterable[float]):
    """Kopf begins with the first one for each request, and tells how many there are of those that
    have a size."""

    def __iter__(self) -> Iterator[float]:
        return chain(BACKOFFS, repeat(BACKOFFS[-1]))


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
    settings.networking.error_backoffs = _Backoffs()
    settings.watching.server_timeout = SERVER_TIMEOUT
    settings.watching.client_timeout = SERVER_TIMEOUT + 10
    settings.watching.reconnect_backoff = 1.0
    settings.watching.chunk_size = CHUNK
    settings.queueing.idle_timeout = IDLE
    managed = ",".join(f"{name}={value}" for name, value in MANAGED.items())
    for kind in (JOB, POD):
        settings.watching.label_selectors[kind.group, kind.version, kind.plural] = managed
    return settings


Hear = Callable[[Kind, str | None, Object], None]
"""Called in the operator's loop with each event: kind, type (None: listed) and object."""


class Watches:
    """Kopf in its thread."""

    def __init__(self, namespaces: Sequence[str], hear: Hear, login: Login) -> None:
        """namespaces: empty for the whole cluster. login: asked for credentials at the start, and
        again when the API server does not take them any more; runs in the thread's loop. Needs the
        operator's running event loop."""
        self._namespaces = namespaces
        self._registry = _registry(asyncio.get_running_loop(), hear, login)
        self._stop = threading.Event()
        self._end_kopf: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=self._run, name="watches", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    async def stop(self) -> None:
        """Watch no more."""
        self._stop.set()
        if not self._thread.is_alive():
            return
        with suppress(RuntimeError):  # its loop may have ended by itself
            self._end_kopf()
        await asyncio.to_thread(self._thread.join, ENDING)

    def _run(self) -> None:
        logging.getLogger("kopf").setLevel(logging.ERROR)
        while not self._stop.is_set():
            try:
                asyncio.run(self._watch())
            # Whatever ends Kopf, watching goes on; Kopf cancels more tasks than its own.
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
                _log.warning("the watches ended and begin anew: %s", str(error) or repr(error))
            self._stop.wait(AGAIN)

    async def _watch(self) -> None:
        # Kopf waits for an event of another thread in a thread of its own, which would have to end
        # before the loop can, also where Kopf ends by itself. So the event is the loop's.
        loop, end = asyncio.get_running_loop(), asyncio.Event()
        self._end_kopf = partial(loop.call_soon_threadsafe, end.set)
        if self._stop.is_set():
            return
        insights = Insights()
        asking = asyncio.create_task(_unserved(insights, end))
        try:
            await kopf.operator(
                registry=self._registry,
                settings=watch_settings(),
                standalone=True,
                clusterwide=not self._namespaces,
                namespaces=list(self._namespaces),
                insights=insights,
                stop_flag=end,
            )
        finally:
            asking.cancel()
            loop.set_exception_handler(_what_kopf_leaves)
        if asking.done() and (unserved := asking.result()):
            raise _NotServed(f"the API server does not have {', '.join(unserved)}")


class _NotServed(Exception):
    """Nothing can be watched that the API server does not have."""


async def _unserved(insights: Insights, end: asyncio.Event) -> list[str]:
    """The kinds that the API server did not have when Kopf asked, which is then ended."""
    await insights.ready_resources.wait()
    watched = {(found.group, found.plural) for found in insights.watched_resources}
    missing = [kind.plural for kind in _KINDS if (kind.group, kind.plural) not in watched]
    if missing:
        end.set()
    return missing


def _what_kopf_leaves(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Kopf has ended, and its streams do not like to be closed: no news for anybody."""
    _log.debug("%s", context.get("message"), exc_info=context.get("exception"))


def _registry(
    loop: asyncio.AbstractEventLoop, hear: Hear, login: Login
) -> kopf.OperatorRegistry:  # fmt: skip
    registry = kopf.OperatorRegistry()

    async def on_login(**_: Any) -> kopf.ConnectionInfo:
        return await login()

    kopf.on.login(registry=registry, id="login")(on_login)
    for kind in _KINDS:
        listen = kopf.on.event(
            kind.group, kind.version, kind.plural, registry=registry, id=kind.plural
        )
        listen(_handler(kind, loop, hear))
    return registry


def _handler(kind: Kind, loop: asyncio.AbstractEventLoop, hear: Hear) -> Callable[..., Any]:
    async def on_event(event: Any, **_: Any) -> None:
        loop.call_soon_threadsafe(hear, kind, event["type"], event["object"])

    return on_event
