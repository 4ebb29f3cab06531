"""Times and durations as status and spec write them."""

import re
from datetime import UTC, datetime, timedelta

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def rfc3339(moment: datetime) -> str:
    """`2026-01-31T12:00:00Z`: UTC, whole seconds, as the Kubernetes API writes times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """The moment that an RFC 3339 time names."""
    return datetime.fromisoformat(text)


def parse_duration(text: str) -> timedelta:
    """A Go duration (`90s`, `1h30m`) that the API's pattern has already accepted."""
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)", text)
    return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))


def earliest(*moments: datetime | None) -> datetime | None:
    """The first of the moments that are set."""
    return min((m for m in moments if m is not None), default=None)
