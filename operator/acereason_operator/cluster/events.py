"""Events as an API server lists them: which of them is the newest, and what it says."""

from collections.abc import Collection, Iterable

from acereason_operator.cluster.protocol import Object


def newest(events: Iterable[Object], reasons: Collection[str], of: str) -> Object:
    """The last Event with one of some reasons on the object of a name; empty for none."""
    about = [
        event
        for event in events
        if event.get("reason") in reasons and event.get("regarding", {}).get("name") == of
    ]
    return max(about, key=_last_seen, default={})


def note_of(event: Object) -> str:
    """What an Event says; empty for none."""
    note: str = event.get("note") or event.get("message") or ""
    return note


def _last_seen(event: Object) -> str:
    series = event.get("series") or {}
    return str(
        series.get("lastObservedTime")
        or event.get("deprecatedLastTimestamp")
        or event.get("eventTime")
        or event["metadata"].get("creationTimestamp")
        or ""
    )
