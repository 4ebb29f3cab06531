"""What the operator has seen: runs, their Jobs and their Pods, each in its newest known form.

Three sources feed it, in any order: the watches, the relists that correct them, and the answers to
our own reads and writes (so that a Job we made is known before any watch tells of it). The one rule
is that an object never goes back: a form with an older resourceVersion than the known one, or
than its deletion, is ignored (unless a list newer than the deletion has it: it was never gone).
That something is *not* here proves nothing; whoever would conclude from an absence reads the server
first (`doubts.py`).

A Pod that is deleted is remembered until its Job is gone: how it ended is evidence for the verdict
on the attempt, and by the time of the verdict a preempted Pod is often collected.

Objects are kept as compressed JSON, without what no decision looks at.
"""

import asyncio
import json
import zlib
from collections import OrderedDict
from collections.abc import AsyncIterable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from acereason_operator.cluster.pod_view import asked_to_end
from acereason_operator.cluster.protocol import JOB, POD, RUN, Kind, Listing, Object
from acereason_operator.cluster.views import is_held_back
from acereason_operator.planner.times import parse_time, rfc3339
from acereason_operator.runtime.remembered import remembered
from acereason_operator.runtime.run_series import Point, Shown, series_of

RunKey = tuple[str, str]
"""(namespace, name) of a run."""

Name = tuple[str, str]
"""(namespace, name) of any object."""

TOMBSTONES = 4096
"""Deletions that are remembered, of each kind: long enough for whatever was read just before."""

SUCCEEDED_OR_FAILED = ("Succeeded", "Failed")


@dataclass(slots=True)
class _Kept:
    """One object, small."""

    uid: str
    version: int
    run: RunKey
    owner: str
    """uid of its controller."""
    packed: bytes
    gone: bool = False
    """A Pod that was deleted."""
    streamed: bool = False
    """Whether a watch has told of it."""
    state: str = ""
    """Of a run: `status.state`."""
    finished_at: str = ""
    """Of a run: `status.finishedAt`."""
    series: tuple[Point, ...] | None = None
    """Of a run: its series in the metrics, once they were asked for."""


@dataclass
class _OfKind:
    objects: dict[Name, _Kept] = field(default_factory=dict)
    of_run: dict[RunKey, set[Name]] = field(default_factory=dict)
    deleted: "OrderedDict[Name, int]" = field(default_factory=OrderedDict)
    undelivered: dict[Name, tuple[int, float]] = field(default_factory=dict)
    """What a relist found and the watch has not told of: its version, and when it was found."""


class Seen:
    """The cache. Not for several threads."""

    def __init__(
        self, run_of: Callable[[Object], RunKey | None], namespaces: Sequence[str] = ()
    ) -> None:
        """run_of: the run that a Job or Pod belongs to by its labels; None for a stranger.
        namespaces: those with a watch each; none: one watch tells of all."""
        self._run_of = run_of
        self._namespaces = namespaces
        self._kinds = {kind: _OfKind() for kind in (RUN, JOB, POD)}

    def runs(self) -> Iterator[RunKey]:
        """Every run."""
        return iter(list(self._kinds[RUN].objects))

    def states(self) -> list[str]:
        """`status.state` of every run. From any thread."""
        return [kept.state for kept in list(self._kinds[RUN].objects.values())]

    def series(self, ended_after: datetime) -> list[Shown]:
        """The series of runs that did not end before a time. From any thread."""
        after = rfc3339(ended_after)  # as status writes times: their texts are in order
        shown: list[Shown] = []
        for kept in list(self._kinds[RUN].objects.values()):
            if kept.finished_at and kept.finished_at < after:
                kept.series = None
                continue
            if kept.series is None:
                kept.series = series_of(_unpacked(kept))
            shown.append((kept.run, kept.series))
        return shown

    def count(self, kind: Kind) -> int:
        """Objects of a kind."""
        return len(self._kinds[kind].objects)

    def size(self, kind: Kind) -> int:
        """Bytes that the objects of a kind take, packed."""
        return sum(len(kept.packed) for kept in self._kinds[kind].objects.values())

    def run(self, key: RunKey) -> Object | None:
        """A run."""
        kept = self._kinds[RUN].objects.get(key)
        return _unpacked(kept) if kept else None

    def jobs(self, run: Object) -> list[Object]:
        """The Jobs that a run owns."""
        return [_unpacked(kept) for kept in self._owned(JOB, name_of(run), uid_of(run))]

    def pods(self, run: RunKey, job: Object) -> list[Object]:
        """The Pods of a Job. One that was deleted before it ended counts as failed; one that was
        deleted when a queue took the Job back is no part of what runs now."""
        pods = []
        for kept in self._owned(POD, run, uid_of(job)):
            pod = _unpacked(kept)
            if not kept.gone:
                pods.append(pod)
            elif _of_this_admission(pod, job):
                if pod["status"].get("phase") not in SUCCEEDED_OR_FAILED:
                    pod["status"]["phase"] = "Failed"
                pods.append(pod)
        return pods

    def take(self, kind: Kind, whole: Object, *, streamed: bool = False) -> RunKey | None:
        """An object as somebody has read it. `streamed`: a watch delivered it.

        Returns the run that has to be looked at for it; None where it brings nothing new.
        """
        run = name_of(whole) if kind == RUN else self._run_of(whole)
        if run is None:
            return None
        version, name, of_kind = _version(whole), name_of(whole), self._kinds[kind]
        if streamed:
            self._delivered(of_kind, name, version)
        known = of_kind.objects.get(name)
        if known is not None and streamed:
            known.streamed = True
        last = max(of_kind.deleted.get(name, 0), known.version if known else 0)
        if version <= last:
            return None
        kept = _packed(kind, whole, version, run)
        kept.streamed = streamed or (known is not None and known.streamed)
        if known is not None and (known.uid, known.packed) == (kept.uid, kept.packed):
            known.version = version
            return None
        if known is not None and known.uid != kept.uid:
            self._drop(kind, name)
        of_kind.objects[name] = kept
        of_kind.of_run.setdefault(run, set()).add(name)
        if kind == JOB and whole["spec"].get("suspend"):
            self._drop_gone_pods(kept)
        return run

    def was_streamed(self, kind: Kind, whole: Object) -> bool:
        """Whether a watch has told of an object before: one that is listed to us again means that a
        watch began anew, and may have missed deletions."""
        known = self._kinds[kind].objects.get(name_of(whole))
        return known is not None and known.uid == uid_of(whole) and known.streamed

    def take_deletion(self, kind: Kind, last: Object) -> RunKey | None:
        """A watch tells of an object's deletion, with its last form. Returns as `take`."""
        self.take(kind, last, streamed=True)
        return self.take_absence(kind, name_of(last), _version(last))

    def take_absence(self, kind: Kind, name: Name, version: int) -> RunKey | None:
        """There is no object of this name as of a version. Returns as `take`."""
        of_kind = self._kinds[kind]
        of_kind.undelivered.pop(name, None)
        known = of_kind.objects.get(name)
        if known is not None and known.version > version:
            return None
        of_kind.deleted[name] = max(version, of_kind.deleted.get(name, 0))
        of_kind.deleted.move_to_end(name)
        while len(of_kind.deleted) > TOMBSTONES:
            of_kind.deleted.popitem(last=False)
        if known is None or known.gone:
            return None
        known.version = version
        if kind == POD and self._job_of(known) is not None:
            known.gone = True
        else:
            self._drop(kind, name)
        return known.run

    async def take_all(
        self, kind: Kind, namespace: str | None, pages: AsyncIterable[Listing]
    ) -> set[RunKey]:
        """All objects of a kind (of one namespace) as a list had them: what is new is taken, what
        is not in it and not newer than it is gone. Returns the runs that have to be looked at.

        pages: of one snapshot; none of them is held while the next one is fetched. Raises whatever
        they raise; nothing is gone then.
        """
        of_kind = self._kinds[kind]
        changed: set[RunKey | None] = set()
        listed: set[Name] = set()
        as_of = 0
        async for page in pages:
            as_of = int(page.resource_version)
            listed |= {name_of(whole) for whole in page.items}
            changed |= {self._take_listed(kind, whole, as_of) for whole in page.items}
        for name, known in list(of_kind.objects.items()):
            in_scope = namespace is None or name[0] == namespace
            if in_scope and name not in listed and not known.gone:
                changed.add(self.take_absence(kind, name, as_of))
        return {run for run in changed if run is not None}

    def _take_listed(self, kind: Kind, whole: Object, as_of: int) -> RunKey | None:
        of_kind, name, version = self._kinds[kind], name_of(whole), _version(whole)
        if of_kind.deleted.get(name, as_of) < as_of:
            # A read said 404 where the kind itself was away for a moment.
            del of_kind.deleted[name]
        known = of_kind.objects.get(name)
        if known is not None and known.version >= version:
            return None
        run = self.take(kind, whole)
        if name in of_kind.objects and of_kind.objects[name].version == version:
            now = asyncio.get_running_loop().time()
            of_kind.undelivered.setdefault(name, (version, now))
        return run

    def ask_deleted(self, kind: Kind, name: Name, at: datetime) -> None:
        """We asked for an object's deletion: it counts as terminating until a watch tells more."""
        known = self._kinds[kind].objects.get(name)
        if known is not None:
            body = _unpacked(known)
            body["metadata"].setdefault("deletionTimestamp", rfc3339(at))
            known.packed = _pack(body)

    def undelivered_for(self, now: float, *kinds: Kind) -> float:
        """How long the oldest change of some kinds (none: of all) has been known from a list
        without a watch telling of it; 0 where the watches have told of everything. now: the event
        loop's time."""
        asked = [self._kinds[kind] for kind in kinds or self._kinds]
        found = [at for of_kind in asked for _, at in of_kind.undelivered.values()]
        return now - min(found) if found else 0.0

    def _delivered(self, of_kind: _OfKind, name: Name, version: int) -> None:
        """A watch tells of changes in their order: what it told of ends the wait for all before,
        but for what another watch has to tell of."""
        of_kind.undelivered = {
            other: (found, at)
            for other, (found, at) in of_kind.undelivered.items()
            if found > version or (self._namespaces and other[0] != name[0])
        }

    def _owned(self, kind: Kind, run: RunKey, owner: str) -> Iterator[_Kept]:
        of_kind = self._kinds[kind]
        for name in sorted(of_kind.of_run.get(run, ())):
            kept = of_kind.objects[name]
            if kept.owner == owner:
                yield kept

    def _job_of(self, pod: _Kept) -> _Kept | None:
        jobs = self._kinds[JOB]
        names = jobs.of_run.get(pod.run, set())
        return next((jobs.objects[n] for n in names if jobs.objects[n].uid == pod.owner), None)

    def _drop(self, kind: Kind, name: Name) -> None:
        of_kind = self._kinds[kind]
        kept = of_kind.objects.pop(name)
        names = of_kind.of_run[kept.run]
        names.discard(name)
        if not names:
            del of_kind.of_run[kept.run]
        if kind == JOB:
            self._drop_gone_pods(kept)

    def _drop_gone_pods(self, job: _Kept) -> None:
        pods = self._kinds[POD]
        for name in [*pods.of_run.get(job.run, ())]:
            if pods.objects[name].gone and pods.objects[name].owner == job.uid:
                self._drop(POD, name)


def name_of(whole: Object) -> Name:
    """(namespace, name)."""
    metadata = whole["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def uid_of(whole: Object) -> str:
    """Its uid."""
    return str(whole["metadata"].get("uid", ""))


def controller_of(whole: Object) -> str:
    """uid of the object that controls it; empty for none."""
    for owner in whole["metadata"].get("ownerReferences") or []:
        if owner.get("controller"):
            return str(owner["uid"])
    return ""


def _of_this_admission(pod: Object, job: Object) -> bool:
    """Whether the deletion of a Pod that is gone was asked for since its Job last started."""
    if is_held_back(job):
        return False
    metadata, started = pod["metadata"], job["status"].get("startTime")
    asked = asked_to_end(metadata) or parse_time(metadata["creationTimestamp"])
    return started is None or asked >= parse_time(started)


def _version(whole: Object) -> int:
    return int(whole["metadata"]["resourceVersion"])


def _packed(kind: Kind, whole: Object, version: int, run: RunKey) -> _Kept:
    part = remembered(kind, whole)
    status = part["status"] if kind == RUN else {}
    return _Kept(
        uid=uid_of(whole),
        version=version,
        run=run,
        owner=controller_of(whole),
        packed=_pack(part),
        state=str(status.get("state", "")),
        finished_at=str(status.get("finishedAt") or ""),
    )


def _pack(part: Object) -> bytes:
    return zlib.compress(json.dumps(part, separators=(",", ":")).encode(), 1)


def _unpacked(kept: _Kept) -> Object:
    whole: Object = json.loads(zlib.decompress(kept.packed))
    whole["metadata"]["resourceVersion"] = str(kept.version)
    return whole
