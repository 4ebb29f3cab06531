"""An API server in memory: the protocol of `cluster/protocol.py`, with every way to fail.

What it promises is what `test_cluster_contract.py` holds it and a real API server to:
resourceVersions that grow, preconditions, uids, refused fields of status, deletion with
finalizers and grace periods, what each call raises. Controllers are not here: what a cluster does
by itself (Jobs make Pods, owners take their children along) is played by `fake_controllers.py`,
one step at a time, so that a test decides what has happened when.

Faults: `before` and `after` are called around every call of the operator's, with the Call; whatever
they raise is raised to the caller. A call that fails in `before` had no effect; one that fails in
`after` had all of it. `deliver` says what becomes of each watch event: none, one, or several.
"""

import inspect
import marshal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeVar
from uuid import UUID

from acereason_operator.cluster.protocol import (
    CLAIM,
    EVENT,
    JOB,
    LEASE,
    NETWORK_POLICY,
    NODE,
    POD,
    RUN,
    SERVICE,
    AlreadyExists,
    Conflict,
    Kind,
    Listing,
    NotFound,
    Object,
    Propagation,
    Refused,
)

KINDS = (RUN, JOB, POD, NODE, SERVICE, CLAIM, NETWORK_POLICY, LEASE, EVENT)
WITH_STATUS = (RUN, JOB, POD, NODE, SERVICE, CLAIM)
"""Kinds whose status is a subresource: what an ordinary write says of it is dropped."""
WITH_GENERATION = (RUN, JOB, NETWORK_POLICY)
FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
POD_GRACE = 30

EventType = Literal["ADDED", "MODIFIED", "DELETED"]
Key = tuple[Kind, str, str]
Objects = list[Object]
Answer = TypeVar("Answer")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Call:
    """One call of the protocol."""

    verb: str
    """get, list, create, apply, replace, write_status, delete."""
    kind: Kind
    namespace: str
    name: str
    body: Object | None = None

    @property
    def writes(self) -> bool:
        """Whether it changes anything."""
        return self.verb not in ("get", "list")


@dataclass(frozen=True)
class Event:
    """One line of a watch."""

    type: EventType
    kind: Kind
    object: Object


Hook = Callable[[Call], Awaitable[None] | None]


def _nothing(call: Call) -> None:
    """No fault."""


def _once(event: Event) -> Iterable[Event]:
    """Every event reaches every watcher."""
    return (event,)


class FakeCluster:
    """See the module. `clock` is what the server stamps objects with."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.clock = clock
        self.before: Hook = _nothing
        self.after: Hook = _nothing
        self.deliver: Callable[[Event], Iterable[Event]] = _once
        self.watchers: list[Callable[[Event], None]] = []
        self.calls: list[Call] = []
        """Every call that reached the server, in order; a test may clear it."""
        self.namespaces = {"default"}
        self._objects: dict[Key, Object] = {}
        self._applied: dict[tuple[Key, str], Object] = {}
        self._version = 0
        self._uids = 0

    # The protocol

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """See Cluster."""
        call = Call("get", kind, namespace, name)
        return await self._call(call, lambda: self._get(kind, namespace, name))

    async def list(
        self,
        kind: Kind,
        namespace: str | None,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> Listing:
        """See Cluster."""
        return await self._call(
            Call("list", kind, namespace or "", ""),
            lambda: self._list(kind, namespace, labels or {}, fields or {}),
        )

    async def pages(
        self, kind: Kind, namespace: str | None, labels: Mapping[str, str] | None = None
    ) -> AsyncIterator[Listing]:
        """See Cluster. A page here is one object."""
        whole = await self.list(kind, namespace, labels)
        for item in whole.items:
            yield Listing((item,), whole.resource_version)
        if not whole.items:
            yield whole

    async def create(self, kind: Kind, body: Object) -> Object:
        """See Cluster."""
        return await self._call(_of_body("create", kind, body), lambda: self._create(kind, body))

    async def apply(self, kind: Kind, body: Object) -> Object:
        """See Cluster."""
        return await self._call(_of_body("apply", kind, body), lambda: self._apply(kind, body))

    async def replace(self, kind: Kind, body: Object) -> Object:
        """See Cluster."""
        return await self._call(_of_body("replace", kind, body), lambda: self._replace(kind, body))

    async def write_status(self, run: Object, status: Object) -> Object:
        """See Cluster."""
        call = _of_body("write_status", RUN, {**run, "status": status})
        return await self._call(call, lambda: self._write_status(run, status))

    async def delete(
        self, kind: Kind, namespace: str, name: str, uid: str, propagation: Propagation
    ) -> None:
        """See Cluster."""

        def effect() -> None:
            found = self._objects.get((kind, namespace, name))
            if found is not None and found["metadata"]["uid"] == uid:
                self.remove(kind, namespace, name, propagation)

        await self._call(Call("delete", kind, namespace, name), effect)

    # The world: what people, controllers and kubelets do. No faults, no calls counted.

    def put(self, kind: Kind, body: Object) -> Object:
        """Somebody else creates an object."""
        return self._create(kind, body)

    def edit(
        self, kind: Kind, namespace: str, name: str, change: Callable[[Object], None]
    ) -> Object:
        """Somebody else changes an object, status included. `change` gets a copy to change."""
        old = self._objects[kind, namespace, name]
        new = _copied(old)
        change(new)
        return self._store(kind, new, old)

    def one(self, kind: Kind, namespace: str, name: str) -> Object:
        """An object as it is. Raises KeyError."""
        return _copied(self._objects[kind, namespace, name])

    def all(self, kind: Kind, **labels: str) -> Objects:
        """Objects of a kind by namespace and name; `labels` by their last part (`stage="sft"`)."""
        found = [o for (k, _, _), o in sorted(self._objects.items(), key=_by_name) if k == kind]
        wanted = {f"acereason.dev/{name}": value for name, value in labels.items()}
        return [_copied(o) for o in found if _selected(o, wanted)]

    def remove(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        propagation: Propagation = "Background",
        grace: int | None = None,
    ) -> None:
        """Somebody deletes an object: at once, or once its finalizers and grace period allow.

        grace: seconds, of a Pod; its own grace period unless given. 0 does not wait for a kubelet.
        """
        old = self._objects[kind, namespace, name]
        body = _copied(old)
        meta = body["metadata"]
        finalizers = [f for f in meta.get("finalizers", []) if f not in (FOREGROUND, ORPHAN)]
        finalizers += {"Foreground": [FOREGROUND], "Orphan": [ORPHAN]}.get(propagation, [])
        seconds = self._grace(kind, body) if grace is None else grace
        if not finalizers and not seconds:
            self._drop(kind, old)
            return
        meta["finalizers"] = finalizers
        if "deletionTimestamp" not in meta or seconds < meta["deletionGracePeriodSeconds"]:
            over = self.clock() + timedelta(seconds=seconds)
            meta |= {"deletionTimestamp": _rfc3339(over), "deletionGracePeriodSeconds": seconds}
        self._store(kind, body, old)

    def arrive_late(self, call: Call) -> None:
        """A create, apply or write_status takes effect whose caller has long given up. Raises
        ClusterError, which nobody hears."""
        assert call.body is not None
        match call.verb:
            case "create":
                self._create(call.kind, call.body)
            case "apply":
                self._apply(call.kind, call.body)
            case "write_status":
                self._write_status(call.body, call.body["status"])
            case _:
                raise AssertionError(f"{call.verb} cannot be late")

    def restart_watches(self) -> Iterator[Event]:
        """What a new watch from the beginning tells: everything there is, as ADDED."""
        for (kind, _, _), body in sorted(self._objects.items(), key=_by_name):
            yield Event("ADDED", kind, _copied(body))

    @property
    def version(self) -> str:
        """resourceVersion of the last change."""
        return str(self._version)

    def written(self) -> Counter[str]:
        """Writes so far, by verb and kind: `create Job`."""
        return Counter(f"{call.verb} {call.kind.kind}" for call in self.calls if call.writes)

    # How it works

    async def _call(self, call: Call, effect: Callable[[], Answer]) -> Answer:
        await _hooked(self.before, call)
        self.calls.append(call)
        if call.kind not in KINDS:
            raise NotFound(f"the server could not find the requested resource {call.kind}", 404)
        answer = effect()
        await _hooked(self.after, call)
        return answer

    def _get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        return _copied(self._objects.get((kind, namespace if kind.namespaced else "", name)))

    def _list(
        self,
        kind: Kind,
        namespace: str | None,
        labels: Mapping[str, str],
        fields: Mapping[str, str],
    ) -> Listing:
        found = [
            _copied(body)
            for (k, ns, _), body in sorted(self._objects.items(), key=_by_name)
            if k == kind and (namespace is None or not kind.namespaced or ns == namespace)
            if _selected(body, labels)
            if all(_at(body, path) == value for path, value in fields.items())
        ]
        return Listing(tuple(found), self.version)

    def _create(self, kind: Kind, body: Object) -> Object:
        body = _copied(body)
        meta = body["metadata"]
        key = self._key(kind, meta)
        if kind.namespaced and key[1] not in self.namespaces:
            raise NotFound(f'namespaces "{key[1]}" not found', 404)
        if key in self._objects:
            raise AlreadyExists(f'{kind.plural} "{key[2]}" already exists', 409)
        if "resourceVersion" in meta:
            raise Refused("resourceVersion should not be set on objects to be created", 400)
        self._uids += 1
        meta |= {"uid": str(UUID(int=self._uids)), "creationTimestamp": _rfc3339(self.clock())}
        if kind in WITH_GENERATION:
            meta["generation"] = 1
        if kind in WITH_STATUS:
            body.pop("status", None)
        if kind == POD:
            body["status"] = {"phase": "Pending"}
        return self._store(kind, body, None)

    def _apply(self, kind: Kind, body: Object) -> Object:
        key = self._key(kind, body["metadata"])
        manager = "operator"
        old = self._objects.get(key)
        before = self._applied.get((key, manager), {})
        self._applied[key, manager] = _copied(body)
        if old is None:
            return self._create(kind, body)
        return self._store(kind, _applied_to(old, before, body), old)

    def _replace(self, kind: Kind, body: Object) -> Object:
        key = self._key(kind, body["metadata"])
        old = self._objects.get(key)
        if old is None:
            raise NotFound(f'{kind.plural} "{key[2]}" not found', 404)
        _same_version(old, body)
        kept = ("uid", "creationTimestamp", "generation")
        new = _copied(body)
        new["metadata"] |= {n: old["metadata"][n] for n in kept if n in old["metadata"]}
        return self._store(kind, new, old)

    def _write_status(self, run: Object, status: Object) -> Object:
        key = self._key(RUN, run["metadata"])
        old = self._objects.get(key)
        if old is None:
            raise NotFound(f'{RUN.plural} "{key[2]}" not found', 404)
        _same_version(old, run)
        return self._store(RUN, {**_copied(old), "status": _copied(status)}, old)

    def _store(self, kind: Kind, body: Object, old: Object | None) -> Object:
        """Keep a form of an object and tell the watchers, unless nothing has changed."""
        meta = body["metadata"]
        if kind.namespaced:
            meta.setdefault("namespace", "default")
        if old is not None and _said(body) == _said(old):
            return _copied(old)
        if "deletionTimestamp" in meta and not meta.get("finalizers"):
            ended = kind != POD or meta["deletionGracePeriodSeconds"] == 0
            if ended:
                self._drop(kind, body)
                return _copied(body)
        if old is not None and kind in WITH_GENERATION and body.get("spec") != old.get("spec"):
            meta["generation"] += 1
        self._version += 1
        meta["resourceVersion"] = self.version
        body |= {"apiVersion": kind.api_version, "kind": kind.kind}
        self._objects[self._key(kind, meta)] = _copied(body)
        self._tell(Event("ADDED" if old is None else "MODIFIED", kind, _copied(body)))
        return _copied(body)

    def _drop(self, kind: Kind, body: Object) -> None:
        key = self._key(kind, body["metadata"])
        del self._objects[key]
        self._applied.pop((key, "operator"), None)
        self._version += 1
        last = _copied(body)
        last["metadata"]["resourceVersion"] = self.version
        self._tell(Event("DELETED", kind, last))

    def _tell(self, event: Event) -> None:
        for told in self.deliver(event):
            for watcher in list(self.watchers):
                watcher(replace(told, object=_copied(told.object)))

    @staticmethod
    def _grace(kind: Kind, body: Object) -> int:
        """A Pod that a node has waits for its kubelet."""
        if kind != POD or not body["spec"].get("nodeName"):
            return 0
        if body["status"].get("phase") in ("Succeeded", "Failed"):
            return 0
        grace: int = body["spec"].get("terminationGracePeriodSeconds", POD_GRACE)
        return grace

    @staticmethod
    def _key(kind: Kind, meta: Mapping[str, Any]) -> Key:
        namespace = meta.get("namespace") or "default"
        return kind, namespace if kind.namespaced else "", meta["name"]


async def _hooked(hook: Hook, call: Call) -> None:
    waited = hook(call)
    if inspect.isawaitable(waited):
        await waited


def _copied(value: Value) -> Value:
    """A copy of JSON, twenty times as fast as a deepcopy, which was most of the tests' time."""
    plain: Any = value
    copy: Value = marshal.loads(marshal.dumps(plain))
    return copy


def _of_body(verb: str, kind: Kind, body: Object) -> Call:
    meta = body["metadata"]
    return Call(verb, kind, meta.get("namespace") or "", meta["name"], _copied(body))


def _same_version(old: Object, new: Object) -> None:
    """Raises Conflict unless the new form was made from the old one."""
    ours, theirs = old["metadata"], new["metadata"]
    for name in ("resourceVersion", "uid"):
        if theirs.get(name) not in (None, ours[name]):
            raise Conflict(f"{ours['name']}: the object has been modified ({name})", 409)


def _said(body: Object) -> Object:
    """All of an object but the marks of when it was written."""
    marks = ("resourceVersion", "generation")
    meta = {name: value for name, value in body["metadata"].items() if name not in marks}
    return {**body, "metadata": meta}


def _applied_to(old: Any, before: Any, new: Any) -> Any:
    """Server-side apply for one manager: what was applied before and is no more goes."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return _copied(new)
    before = before if isinstance(before, dict) else {}
    out = {name: _copied(value) for name, value in old.items() if name in new or name not in before}
    for name, value in new.items():
        out[name] = _applied_to(old.get(name), before.get(name), value)
    return out


def _selected(body: Object, labels: Mapping[str, str]) -> bool:
    of = body["metadata"].get("labels") or {}
    return all(of.get(n) == v if v else n in of for n, v in labels.items())


def _at(body: Any, path: str) -> Any:
    for part in path.split("."):
        body = body.get(part) if isinstance(body, dict) else None
    return body


def _by_name(item: tuple[Key, Object]) -> tuple[str, str, str]:
    kind, namespace, name = item[0]
    return kind.plural, namespace, name


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
