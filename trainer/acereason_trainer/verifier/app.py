"""The HTTP side of the service: reads requests, refuses what cannot be done, streams answers."""

import asyncio
import importlib.metadata
from collections.abc import Mapping

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from pydantic import ValidationError

from acereason_trainer.config.model import Model
from acereason_trainer.rewards.wire import (
    ANSWERS_TYPE,
    HEARTBEAT_SECONDS,
    SERVICE,
    About,
    Request,
    Trouble,
    read_request,
    write_grade_line,
)
from acereason_trainer.verifier.desk import Full, Ticket, TooMany
from acereason_trainer.verifier.meters import Meters
from acereason_trainer.verifier.pools import Crowded
from acereason_trainer.verifier.service import Draining, Service, UnknownTests
from acereason_trainer.verifier.test_sets import BadTests, checked

_UNREAD_SECONDS = 60.0
"""A stream that is not read for so long is given up."""
_DRAINING_RETRY = 2
"""Seconds after which a stopping service's successor may be there."""
_LARGE = 1 << 20
"""Bytes that are parsed beside the event loop and not in it."""


def make_app(service: Service, meters: Meters, body_bytes: int) -> web.Application:
    """The routes of a service. Larger requests than `body_bytes` are refused."""
    app = web.Application(client_max_size=body_bytes, middlewares=[_explains(meters)])
    routes = _Routes(service, meters)
    app.add_routes(
        [
            web.get("/v1", routes.about),
            web.put("/v1/tests/{digest:[0-9a-f]{32}}", routes.upload),
            web.post("/v1/grade", routes.grade),
            web.get("/healthz", routes.healthy),
            web.get("/readyz", routes.ready),
            web.get("/metrics", routes.metrics),
        ]
    )
    return app


class _Routes:
    def __init__(self, service: Service, meters: Meters) -> None:
        self._service = service
        self._meters = meters

    async def about(self, request: web.Request) -> web.Response:
        return _json(200, About(service=SERVICE, version=importlib.metadata.version("acereason")))

    async def healthy(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(self, request: web.Request) -> web.Response:
        trouble = self._service.trouble
        return web.Response(text=f"{trouble or 'ok'}\n", status=503 if trouble else 200)

    async def metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self._meters.page(), content_type="text/plain", charset="utf-8")

    async def upload(self, request: web.Request) -> web.Response:
        digest, content = bytes.fromhex(request.match_info["digest"]), await request.read()
        await asyncio.to_thread(checked, digest, content)
        self._service.tests.put(digest, content)
        self._meters.uploaded()
        return web.Response(status=204)

    async def grade(self, request: web.Request) -> web.StreamResponse:
        asked = await _parsed(await request.read())
        ticket = self._service.take(asked)
        try:
            response = web.StreamResponse(headers={"Content-Type": ANSWERS_TYPE})
            await response.prepare(request)
            await _stream(ticket, asked, response)
        finally:
            # Also where the trainer went away: aiohttp cancels the handler then.
            self._service.withdraw(ticket)
        return response


async def _parsed(body: bytes) -> Request:
    if len(body) < _LARGE:
        return read_request(body)
    return await asyncio.to_thread(read_request, body)


async def _stream(ticket: Ticket, asked: Request, response: web.StreamResponse) -> None:
    """Write answers as they come, the first for each job, until all are there or it is drained."""
    missing = {item.id for item in asked.jobs}
    while missing:
        try:
            async with asyncio.timeout(HEARTBEAT_SECONDS):
                answer = await ticket.answers.get()
        except TimeoutError:
            await _write(response, b"\n")
            continue
        if answer is None:
            return
        if answer[0] in missing:
            missing.remove(answer[0])
            await _write(response, write_grade_line(*answer))


async def _write(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(_UNREAD_SECONDS):
        await response.write(data)


def _explains(meters: Meters) -> Middleware:
    """Every refusal is a status, a sentence and a count."""

    @web.middleware
    async def explains(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except ValidationError as e:
            refusal = _json(400, Trouble(error=_sentence(e)))
        except BadTests as e:
            refusal = _json(400, Trouble(error=str(e)))
        except UnknownTests as e:
            refusal = _json(404, Trouble(error=str(e), unknown_tests=e.digests))
        except TooMany as e:
            refusal = _json(413, Trouble(error=str(e)))
        except (Full, Crowded) as e:
            refusal = _json(429, Trouble(error=str(e)), {"Retry-After": str(e.retry_after)})
        except Draining:
            again = {"Retry-After": str(_DRAINING_RETRY)}
            refusal = _json(503, Trouble(error="the service is stopping; ask again"), again)
        except web.HTTPError as e:
            refusal = _json(e.status, Trouble(error=_http_sentence(e, request)))
        meters.refused(refusal.status)
        return refusal

    return explains


def _json(status: int, body: Model, headers: Mapping[str, str] | None = None) -> web.Response:
    response = web.Response(
        status=status,
        text=body.model_dump_json() + "\n",
        content_type="application/json",
        headers=headers,
    )
    if status in (429, 503):
        # The next connection may lead to another replica.
        response.force_close()
    return response


def _sentence(e: ValidationError) -> str:
    first, others = e.errors()[0], e.error_count() - 1
    # The discriminator of the union comes first.
    where = ".".join(map(str, first["loc"][1:])) or "the request"
    more = f" ({others} more like it)" if others else ""
    return f"{where}: {first['msg']}{more}"


def _http_sentence(e: web.HTTPError, request: web.Request) -> str:
    if isinstance(e, web.HTTPRequestEntityTooLarge):
        return f"the request is too large: {e.text}; send fewer jobs at once"
    return f"{request.method} {request.path}: {e.reason}"
