"""The HTTP side of a Cluster: what is sent, and what each way to fail becomes."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import pytest
from acereason_operator.cluster import api_server
from acereason_operator.cluster.api_server import ApiServer, path_of
from acereason_operator.cluster.protocol import (
    JOB,
    NODE,
    POD,
    RUN,
    AlreadyExists,
    ClusterError,
    Conflict,
    NotFound,
    Object,
    Refused,
    Throttled,
    Unreachable,
)
from aiohttp import ClientTimeout, web
from kubernetes.aio import client, config
from kubernetes.aio.config import incluster_config

from tests.controlplane.control_plane import ControlPlane

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
POD_BODY: Object = {"metadata": {"name": "p", "namespace": "default", "uid": "u"}}


def with_server(handler: Handler, story: Callable[[ApiServer], Awaitable[Any]]) -> list[str]:
    """Run a story against a server that answers so; returns what was counted."""
    counted: list[str] = []

    async def served() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        api = ApiServer(plain_http(port), lambda verb, code: counted.append(f"{verb} {code}"))
        try:
            async with api:
                await story(api)
        finally:
            await runner.cleanup()

    asyncio.run(served())
    return counted


def plain_http(port: int) -> client.ApiClient:
    """A client that does not read the machine's certificates, which takes a third of a second."""
    configuration = client.Configuration(host=f"http://127.0.0.1:{port}")
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with patch("ssl.create_default_context", lambda **_: bare):
        return client.ApiClient(configuration)


def answering(status: int, body: Any, **headers: str) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text, headers=headers)

    return handler


def says(reason: str) -> Object:
    return {"kind": "Status", "reason": reason, "message": f"because of {reason}"}


async def create(api: ApiServer) -> None:
    await api.create(POD, POD_BODY)


async def get(api: ApiServer) -> None:
    await api.get(POD, "default", "p")


async def delete(api: ApiServer) -> None:
    await api.delete(POD, "default", "p", "u", "Background")


@pytest.mark.parametrize(
    ("call", "status", "reason", "error", "why"),
    [
        (create, 409, "AlreadyExists", AlreadyExists, "a name is taken"),
        (create, 409, "Conflict", Conflict, "a quota was written meanwhile: try again"),
        (create, 404, "NotFound", NotFound, "no such namespace"),
        (create, 400, "BadRequest", Refused, "an unknown field"),
        (create, 403, "Forbidden", Refused, "a quota, a policy, no permission"),
        (create, 413, "RequestEntityTooLarge", Refused, "too large"),
        (create, 415, "UnsupportedMediaType", Refused, "never right, however often"),
        (create, 422, "Invalid", Refused, "an invalid podTemplate"),
        (get, 401, "Unauthorized", Unreachable, "a token is being changed"),
        (get, 410, "Expired", Unreachable, "a snapshot is gone: begin again"),
        (get, 500, "InternalError", Unreachable, "who knows whether it took effect"),
        (get, 503, "ServiceUnavailable", Unreachable, "who knows"),
        (get, 504, "Timeout", Unreachable, "who knows"),
        (get, 403, "Forbidden", Refused, "no permission"),
        (delete, 403, "Forbidden", Refused, "no permission"),
    ],
)
def test_each_way_to_fail_has_a_type_and_the_servers_sentence(
    call: Callable[[ApiServer], Awaitable[None]],
    status: int,
    reason: str,
    error: type[ClusterError],
    why: str,
) -> None:
    async def story(api: ApiServer) -> None:
        with pytest.raises(error, match=f"because of {reason}") as failed:
            await call(api)
        assert (failed.value.status, type(failed.value)) == (status, error), why

    with_server(answering(status, says(reason)), story)


@pytest.mark.parametrize("call", [get, delete])
def test_what_is_gone_is_no_error_to_read_or_delete(call: Any) -> None:
    with_server(answering(404, says("NotFound")), call)


def test_deleting_another_object_of_that_name_is_done_already() -> None:
    with_server(answering(409, says("Conflict")), delete)


@pytest.mark.parametrize(
    ("headers", "seconds"), [({"Retry-After": "7"}, 7.0), ({}, None), ({"Retry-After": "?"}, None)]
)
def test_a_server_that_asks_for_patience_says_for_how_long(
    headers: dict[str, str], seconds: float | None
) -> None:
    async def story(api: ApiServer) -> None:
        with pytest.raises(Throttled) as failed:
            await get(api)
        assert failed.value.retry_after == seconds

    with_server(answering(429, says("TooManyRequests"), **headers), story)


@pytest.mark.parametrize("body", ["<html>bad gateway</html>", "", "[]", '"no"'])
def test_a_proxy_that_answers_instead_of_the_server_is_understood(body: str) -> None:
    async def story(api: ApiServer) -> None:
        with pytest.raises(Unreachable):
            await get(api)

    with_server(answering(502, body), story)


def test_an_answer_that_is_not_json_is_no_answer() -> None:
    async def story(api: ApiServer) -> None:
        with pytest.raises(Unreachable, match="is not JSON"):
            await get(api)

    with_server(answering(200, "<html>log in first</html>"), story)


def test_silence_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_server, "TIMEOUT", ClientTimeout(total=0.2))

    over = asyncio.Event()

    async def silent(request: web.Request) -> web.Response:
        await over.wait()
        return web.Response()

    async def story(api: ApiServer) -> None:
        with pytest.raises(Unreachable, match="GET /api/v1/namespaces/default/pods/p"):
            await get(api)
        over.set()

    assert with_server(silent, story) == ["get none"]


def test_nobody_there_is_unreachable() -> None:
    async def story() -> None:
        async with ApiServer(plain_http(9)) as api:
            with pytest.raises(Unreachable):
                await get(api)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("environment", "code", "why"),
    [
        ({"http_proxy": "http://127.0.0.1:{port}"}, "200", "the proxy is asked"),
        ({"http_proxy": "http://127.0.0.1:{port}", "no_proxy": "127.0.0.2"}, "none", "not for it"),
    ],
)
def test_a_proxy_of_the_environment_is_used(
    environment: dict[str, str],
    code: str,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Nobody listens where the kubeconfig says that the server is."""
    file, counted = tmp_path / "kubeconfig", []
    file.write_text(
        json.dumps(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.2:9"}}],
                "users": [{"name": "u", "user": {}}],
            }
        )
    )

    async def story(proxy: ApiServer) -> None:
        port = urlsplit(proxy._api.configuration.host).port
        for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value.format(port=port))
        count = lambda verb, code: counted.append(f"{verb} {code}")  # noqa: E731
        async with await ApiServer.from_kubeconfig(file, count) as api:
            with suppress(Unreachable):
                await get(api)

    with_server(answering(200, POD_BODY), story)
    assert counted == [f"get {code}"], why


def test_every_call_is_one_request() -> None:
    """Also one that fails: who retries is decided in the work queue."""

    async def story(api: ApiServer) -> None:
        for call in (get, create, delete):
            with pytest.raises(Unreachable):
                await call(api)

    assert with_server(answering(500, says("InternalError")), story) == [
        "get 500", "create 500", "delete 500",
    ]  # fmt: skip


def test_a_list_is_read_in_pages_of_one_snapshot() -> None:
    asked: list[dict[str, str]] = []

    async def pages(request: web.Request) -> web.Response:
        asked.append(dict(request.query))
        after = request.query.get("continue")
        meta = {"resourceVersion": "41", **({} if after else {"continue": "c/1+"})}
        item = {"metadata": {"name": "second" if after else "first"}}
        return web.json_response({"metadata": meta, "items": [item]})

    async def story(api: ApiServer) -> None:
        found = await api.list(POD, None, {"a": "b", "c": ""}, {"regarding.uid": "x"})
        assert [item["metadata"]["name"] for item in found.items] == ["first", "second"]
        assert found.resource_version == "41"
        assert found.items[0]["kind"] == "Pod"

    assert with_server(pages, story) == ["list 200", "list 200"]
    first = {"limit": "100", "labelSelector": "a=b,c", "fieldSelector": "regarding.uid=x"}
    assert asked == [first, {**first, "continue": "c/1+"}]


def test_an_empty_list_may_be_null() -> None:
    async def story(api: ApiServer) -> None:
        assert (await api.list(POD, "default")).items == ()

    with_server(answering(200, {"metadata": {"resourceVersion": "1"}, "items": None}), story)


@pytest.mark.parametrize(
    ("kind", "namespace", "name", "path"),
    [
        (POD, "a", "b", "/api/v1/namespaces/a/pods/b"),
        (POD, None, None, "/api/v1/pods"),
        (JOB, "a", None, "/apis/batch/v1/namespaces/a/jobs"),
        (RUN, "a", "b", "/apis/acereason.dev/v1alpha1/namespaces/a/acereasonruns/b"),
        (NODE, "", "gpu-1", "/api/v1/nodes/gpu-1"),
        (NODE, None, None, "/api/v1/nodes"),
        (POD, "a", "../secrets", "/api/v1/namespaces/a/pods/..%2Fsecrets"),
    ],
)
def test_where_objects_are(kind: Any, namespace: str | None, name: str | None, path: str) -> None:
    assert path_of(kind, namespace, name) == path


def test_a_token_that_was_changed_on_disk_is_used(
    monkeypatch: pytest.MonkeyPatch, control_plane: ControlPlane, tmp_path: Any
) -> None:
    """Bound tokens are replaced by the kubelet before they expire; a client that keeps the first
    one gets 401 for ever. The client looks once a minute: here, always."""
    namespace = control_plane.new_namespace("token")
    account = control_plane.service_account(namespace, "operator")
    token = tmp_path / "token"
    token.write_text("expired")

    class AtOnce(incluster_config.InClusterConfigLoader):  # type: ignore[misc]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self._token_refresh_period *= 0

    monkeypatch.setattr(incluster_config, "InClusterConfigLoader", AtOnce)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(control_plane.ca_file))
    environment = {
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": str(control_plane.ports["kube-apiserver"]),
    }
    for name, value in environment.items():
        monkeypatch.setitem(incluster_config.os.environ, name, value)

    async def story() -> None:
        async with await ApiServer.from_cluster() as api:
            with pytest.raises(Unreachable, match="Unauthorized"):
                await api.get(POD, namespace, "p")
            token.write_text(account.token)
            with pytest.raises(Refused, match="cannot get resource"):
                await api.get(POD, namespace, "p")

    asyncio.run(story())


def test_outside_a_cluster_the_configuration_is_missing_in_a_sentence() -> None:
    with pytest.raises(config.ConfigException, match="Service host/port is not set"):
        asyncio.run(ApiServer.from_cluster())
