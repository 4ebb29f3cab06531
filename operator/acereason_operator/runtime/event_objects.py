"""What people are told, as Events of `kubectl describe arr`."""

from datetime import UTC, datetime
from hashlib import sha256

from acereason_operator.cluster.protocol import EVENT, RUN, Object
from acereason_operator.planner.actions import RecordEvent

REPORTER = "acereason.dev/operator"
LONGEST_NOTE = 1024
"""The API's limit."""


def event_for(told: RecordEvent, run: Object, instance: str, now: datetime) -> Object:
    """The Event of one decision on a run. Its name is made of what it says, and of the run's
    version before it was said: whoever says the same thing twice says it once.

    instance: name of this replica.
    """
    metadata = run["metadata"]
    said = f"{metadata['uid']}/{metadata['resourceVersion']}/{told.reason}/{told.message}"
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {
            "name": f"{metadata['name']}.{sha256(said.encode()).hexdigest()[:16]}",
            "namespace": metadata["namespace"],
        },
        "eventTime": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": REPORTER,
        "reportingInstance": instance[:128],
        "action": "Reconcile",
        "reason": told.reason,
        "type": told.type,
        "note": _cut(told.message),
        "regarding": {
            "apiVersion": RUN.api_version,
            "kind": RUN.kind,
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        },
    }


def _cut(text: str) -> str:
    """At most LONGEST_NOTE bytes, whole characters."""
    if len(text.encode()) <= LONGEST_NOTE:
        return text
    return text.encode()[: LONGEST_NOTE - 3].decode(errors="ignore") + "..."
