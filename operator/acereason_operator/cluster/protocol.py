"""The few calls that the operator makes to an API server, and the ways in which they fail.

Objects are plain JSON: what is rendered is what is sent, and whatever an API server adds survives.
The real form is `api_server.py`; tests drive the operator through a fake that a contract test
holds to a real API server. Every call is one request, without retries of its own: who retries, and
when, is decided in one place (the work queue).
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Object = dict[str, Any]
"""A Kubernetes object as JSON."""

Propagation = Literal["Background", "Foreground", "Orphan"]


@dataclass(frozen=True)
class Kind:
    """A kind of object and where its API is."""

    kind: str
    group: str
    """Empty for the core API."""
    version: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """`group/version`, or the version alone for the core API."""
        return f"{self.group}/{self.version}" if self.group else self.version


RUN = Kind("AceReasonRun", "acereason.dev", "v1alpha1", "acereasonruns")
JOB = Kind("Job", "batch", "v1", "jobs")
POD = Kind("Pod", "", "v1", "pods")
NODE = Kind("Node", "", "v1", "nodes", namespaced=False)
SERVICE = Kind("Service", "", "v1", "services")
CLAIM = Kind("PersistentVolumeClaim", "", "v1", "persistentvolumeclaims")
NETWORK_POLICY = Kind("NetworkPolicy", "networking.k8s.io", "v1", "networkpolicies")
LEASE = Kind("Lease", "coordination.k8s.io", "v1", "leases")
EVENT = Kind("Event", "events.k8s.io", "v1", "events")


class ClusterError(Exception):
    """A call that did not succeed. The text is the server's sentence."""

    def __init__(self, sentence: str, status: int | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        """HTTP status; None where there was no answer."""
        self.retry_after: float | None = None
        """Seconds for which the server asks to be left alone with this, where it does."""


class AlreadyExists(ClusterError):
    """409 on create: an object of this name is there (perhaps ours, of an earlier attempt)."""


class Conflict(ClusterError):
    """409 on a write with a precondition: somebody wrote since the object was read."""


class NotFound(ClusterError):
    """404 on a write: the object, its namespace or its kind is gone."""


class Refused(ClusterError):
    """400, 403, 422 and their like: the server will not have it, now or ever (a quota, a policy, an
    invalid podTemplate). Trying again at once is of no use; a person should read the sentence."""


class Throttled(ClusterError):
    """429: the server asks for patience."""

    def __init__(self, sentence: str, retry_after: float | None) -> None:
        super().__init__(sentence, 429)
        self.retry_after = retry_after


class Unreachable(ClusterError):
    """No answer, a 5xx or a 401, or a list that took longer than the server keeps its snapshot
    (410): whether the call took effect is not known."""


@dataclass(frozen=True)
class Listing:
    """All objects of a kind at one moment."""

    items: tuple[Object, ...]
    resource_version: str


class Cluster(Protocol):
    """An API server. All methods raise ClusterError; 404 on a read or a delete is no error."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """One object, read from the server itself; None where there is none."""
        ...

    async def list(
        self,
        kind: Kind,
        namespace: str | None,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> Listing:
        """All objects of a kind (of one namespace), in pages that are one snapshot.

        `labels`: only those with these labels; an empty value asks for any value. `fields`: only
        those with these values at these paths, where the server can select by them (the Events of
        an object: `regarding.uid`). Raises NotFound where the server knows no such kind.
        """
        ...

    def pages(
        self, kind: Kind, namespace: str | None, labels: Mapping[str, str] | None = None
    ) -> AsyncIterator[Listing]:
        """The same page by page, for lists that are too long to be held whole. All pages are one
        snapshot, of one resource_version; there is at least one."""
        ...

    async def create(self, kind: Kind, body: Object) -> Object:
        """POST; the object as the server made it. A field that the server does not know is refused,
        not dropped. Raises AlreadyExists."""
        ...

    async def apply(self, kind: Kind, body: Object) -> Object:
        """Server-side apply under our field manager, forced."""
        ...

    async def replace(self, kind: Kind, body: Object) -> Object:
        """PUT of the whole object under its resourceVersion (Leases). Raises Conflict."""
        ...

    async def write_status(self, run: Object, status: Object) -> Object:
        """Replace the status of a run, if nobody wrote since `run` was read (its
        resourceVersion). Raises Conflict, NotFound."""
        ...

    async def delete(
        self, kind: Kind, namespace: str, name: str, uid: str, propagation: Propagation
    ) -> None:
        """Delete the object with this uid; one that is gone, or another one of that name, is
        success."""
        ...
