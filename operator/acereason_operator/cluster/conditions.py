"""Conditions in an object's status."""

from acereason_operator.cluster.protocol import Object


def condition(status: Object, kind: str, value: str = "True") -> Object | None:
    """The condition of this type, if it has this value; None where it has another, or none."""
    conditions: list[Object] = status.get("conditions") or []
    return next((c for c in conditions if c["type"] == kind and c["status"] == value), None)
