"""Moments as status writes them, and lengths of time as the spec does."""

from datetime import UTC, datetime, timedelta

from acereason_operator.api.durations import seconds


def rfc3339(moment: datetime) -> str:
    """`2026-01-31T12:00:00Z`: UTC, whole seconds, as the Kubernetes API writes times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """The moment that an RFC 3339 time names."""
    return datetime.fromisoformat(text)


def parse_duration(text: str) -> timedelta:
    """The length of a Go duration, for example `1h30m`."""
    return timedelta(seconds=seconds(text))


def earliest(*moments: datetime | None) -> datetime | None:
    """The first of the moments that are set."""
    return min((m for m in moments if m is not None), default=None)
