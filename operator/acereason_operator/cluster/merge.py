"""How a partial object of the user is merged into ours: as in kubectl's strategic merge patch.

Maps are merged key by key; null removes a key. Lists that Kubernetes itself merges by a key (the
`patchMergeKey` of its API types) are merged by it, the others are replaced. An element that is a
choice between members (a volume, an environment variable) is replaced as a whole, or else a
volume of ours and the user's would become one with two sources.
"""

from collections.abc import Mapping
from typing import Any

LIST_KEYS: Mapping[str, str] = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "resourceClaims": "name",
    "schedulingGates": "name",
}
"""Lists of a PodTemplate that are merged, and the key of their elements."""

CHOICES = frozenset({"volumes", "env"})
"""Lists whose elements are replaced where both sides have one of the same key."""


def merged(ours: Any, theirs: Any) -> Any:
    """Our value with theirs merged into it; neither is changed."""
    if not isinstance(ours, Mapping) or not isinstance(theirs, Mapping):
        return _without_nulls(theirs)
    out = dict(ours)
    for name, value in theirs.items():
        if value is None:
            out.pop(name, None)
        elif name in LIST_KEYS and isinstance(out.get(name), list) and isinstance(value, list):
            out[name] = _merged_lists(out[name], value, name)
        else:
            out[name] = merged(out.get(name), value)
    return out


def _merged_lists(ours: list[Any], theirs: list[Any], name: str) -> list[Any]:
    """Ours in their order, then what is new."""
    key = LIST_KEYS[name]
    out = list(ours)
    for element in theirs:
        at = _index(out, key, element)
        if at is None:
            out.append(_without_nulls(element))
        elif name in CHOICES:
            out[at] = _without_nulls(element)
        else:
            out[at] = merged(out[at], element)
    return out


def _index(elements: list[Any], key: str, like: Any) -> int | None:
    if not isinstance(like, Mapping) or key not in like:
        return None
    return next(
        (i for i, e in enumerate(elements) if isinstance(e, Mapping) and e.get(key) == like[key]),
        None,
    )


def _without_nulls(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nulls(v) for v in value]
    if not isinstance(value, Mapping):
        return value
    return {name: _without_nulls(v) for name, v in value.items() if v is not None}
