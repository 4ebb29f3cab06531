"""The real cluster: the official client's transport under one path builder for all kinds.

The generated classes of the client would turn every object into models and back; what is sent and
what is read here is the plain JSON of `protocol.py`.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio import client

from acereason_operator.cluster import connection
from acereason_operator.cluster.protocol import (
    RUN,
    AlreadyExists,
    ClusterError,
    Conflict,
    Kind,
    Listing,
    NotFound,
    Object,
    Propagation,
    Refused,
    Throttled,
    Unreachable,
)

FIELD_MANAGER = "acereason-operator"
PAGE = 100
"""Objects of one page of a list. A Pod of 8 KB takes ten times that when it is parsed, and nothing
else happens meanwhile: kubectl's 500 would hold 40 MiB and stop the operator for a tenth of a
second."""
TIMEOUT = aiohttp.ClientTimeout(total=30, connect=10)

Counted = Callable[[str, str], None]
"""Called once for each request with its verb (get, list, create, apply, replace, write_status,
delete) and its HTTP status, or `none` where no answer came."""


def _nobody(verb: str, code: str) -> None:
    """The requests are not counted."""


class ApiServer:
    """An API server over HTTP. Close it when done (`async with`)."""

    def __init__(self, api: client.ApiClient, counted: Counted = _nobody) -> None:
        self._api = api
        self._counted = counted

    @classmethod
    async def from_cluster(cls, counted: Counted = _nobody) -> "ApiServer":
        """As a pod's service account. Raises ConfigException."""
        return cls(client.ApiClient(connection.of_pod()), counted)

    @classmethod
    async def from_kubeconfig(
        cls, path: Path | None = None, counted: Counted = _nobody
    ) -> "ApiServer":
        """As the current context of a kubeconfig file (default: kubectl's). Raises
        ConfigException."""
        return cls(client.ApiClient(await connection.of_kubeconfig(path)), counted)

    async def __aenter__(self) -> "ApiServer":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """See Cluster."""
        try:
            return await self._call("get", "GET", path_of(kind, namespace, name))
        except NotFound:
            return None

    async def list(
        self,
        kind: Kind,
        namespace: str | None,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> Listing:
        """See Cluster."""
        pages = [page async for page in self.pages(kind, namespace, labels, fields)]
        items = tuple(item for page in pages for item in page.items)
        return Listing(items, pages[-1].resource_version)

    async def pages(
        self,
        kind: Kind,
        namespace: str | None,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Listing]:
        """See Cluster."""
        query = {"limit": str(PAGE)}
        if labels:
            query["labelSelector"] = ",".join(f"{k}={v}" if v else k for k, v in labels.items())
        if fields:
            query["fieldSelector"] = ",".join(f"{k}={v}" for k, v in fields.items())
        # Items of a list don't say what they are.
        named = {"apiVersion": kind.api_version, "kind": kind.kind}
        while True:
            page = await self._call("list", "GET", path_of(kind, namespace), query)
            items = tuple({**named, **item} for item in page.get("items") or ())
            yield Listing(items, page["metadata"]["resourceVersion"])
            more = page["metadata"].get("continue")
            if not more:
                return
            query["continue"] = more

    async def create(self, kind: Kind, body: Object) -> Object:
        """See Cluster. A field that the server does not know (a misspelt podTemplate) is refused,
        not dropped."""
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        path = path_of(kind, body["metadata"].get("namespace"))
        return await self._call("create", "POST", path, query, body)

    async def apply(self, kind: Kind, body: Object) -> Object:
        """See Cluster."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true", "fieldValidation": "Strict"}
        return await self._call(
            "apply", "PATCH", _path_to(kind, body), query, body, "application/apply-patch+yaml"
        )

    async def replace(self, kind: Kind, body: Object) -> Object:
        """See Cluster."""
        query = {"fieldManager": FIELD_MANAGER}
        return await self._call("replace", "PUT", _path_to(kind, body), query, body)

    async def write_status(self, run: Object, status: Object) -> Object:
        """See Cluster."""
        meta = run["metadata"]
        body = {
            "apiVersion": RUN.api_version,
            "kind": RUN.kind,
            "metadata": {
                name: meta[name] for name in ("name", "namespace", "uid", "resourceVersion")
            },
            "spec": run["spec"],
            "status": status,
        }
        path = f"{_path_to(RUN, run)}/status"
        return await self._call("write_status", "PUT", path, {"fieldManager": FIELD_MANAGER}, body)

    async def delete(
        self, kind: Kind, namespace: str, name: str, uid: str, propagation: Propagation
    ) -> None:
        """See Cluster."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation,
            "preconditions": {"uid": uid},
        }
        try:
            await self._call("delete", "DELETE", path_of(kind, namespace, name), body=body)
        except (NotFound, Conflict):
            return

    async def _call(
        self,
        verb: str,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        """One request. Raises ClusterError."""
        url = f"{self._api.configuration.host}{path}"
        if query:
            url += f"?{urlencode(query)}"
        code = "none"
        try:
            response = await self._api.rest_client.request(
                method,
                url,
                headers=await self._headers(content_type),
                body=body,
                _request_timeout=TIMEOUT,
            )
            content = await response.read()
            code = str(response.status)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"{method} {path}: {str(error) or type(error).__name__}") from error
        finally:
            self._counted(verb, code)
        if response.status >= 300:
            raise _error(method, response.status, response.headers, content)
        try:
            answer: Object = json.loads(content)
        except ValueError as error:
            raise Unreachable(
                f"{method} {path}: the answer is not JSON", response.status
            ) from error
        return answer

    async def _headers(self, content_type: str) -> dict[str, str]:
        headers = {
            "Accept": "application/json",
            "Content-Type": content_type,
            "User-Agent": FIELD_MANAGER,
        }
        for setting in (await self._api.configuration.auth_settings()).values():
            headers[setting["key"]] = setting["value"]
        return headers


def path_of(kind: Kind, namespace: str | None, name: str | None = None) -> str:
    """Path of an object, or of all objects of a kind (in a namespace)."""
    parts = ["/apis", kind.group, kind.version] if kind.group else ["/api", kind.version]
    if kind.namespaced and namespace:
        parts += ["namespaces", quote(namespace, safe="")]
    parts.append(kind.plural)
    if name is not None:
        parts.append(quote(name, safe=""))
    return "/".join(parts)


def _path_to(kind: Kind, body: Object) -> str:
    return path_of(kind, body["metadata"].get("namespace"), body["metadata"]["name"])


def _error(
    method: str, status: int, headers: Mapping[str, str], content: bytes
) -> ClusterError:  # fmt: skip
    sentence, reason = _said(content)
    sentence = sentence or f"HTTP {status}"
    match status:
        case 404:
            return NotFound(sentence, status)
        case 409:
            new = method == "POST" and reason == "AlreadyExists"
            return AlreadyExists(sentence, status) if new else Conflict(sentence, status)
        case 429:
            return Throttled(sentence, _seconds(headers.get("Retry-After")))
        case 400 | 403 | 413 | 422:
            return Refused(sentence, status)
        case 401 | 410:
            return Unreachable(sentence, status)
    return Unreachable(sentence, status) if status >= 500 else Refused(sentence, status)


def _said(content: bytes) -> tuple[str, str]:
    """(message, reason) of a Status; a proxy may answer anything."""
    try:
        answer: Any = json.loads(content)
    except ValueError:
        return content[:300].decode(errors="replace").strip(), ""
    if not isinstance(answer, dict):
        return "", ""
    return str(answer.get("message") or ""), str(answer.get("reason") or "")


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isdigit() else None
