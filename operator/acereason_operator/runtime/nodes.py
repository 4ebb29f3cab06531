"""Whether a node is well: asked for only where a pod gives reason to, and kept for seconds."""

import asyncio
from dataclasses import dataclass, field

from acereason_operator.cluster.protocol import NODE, Cluster, Object, Refused

FRESH = 5.0
"""Seconds for which an answer is used again: a lost node takes many pods with it at once."""


@dataclass
class Nodes:
    """Readiness of nodes."""

    cluster: Cluster
    _known: dict[str, tuple[bool | None, float]] = field(default_factory=dict)

    async def ready(self, names: set[str]) -> dict[str, bool | None]:
        """Of each node: whether it is there and Ready; None where the operator may not read nodes
        (an installation for some namespaces). Raises ClusterError."""
        return {name: await self._one(name) for name in sorted(names)}

    async def _one(self, name: str) -> bool | None:
        now = asyncio.get_running_loop().time()
        known = self._known.get(name)
        if known is not None and now - known[1] < FRESH:
            return known[0]
        self._known = {n: at for n, at in self._known.items() if now - at[1] < FRESH}
        well: bool | None
        try:
            node = await self.cluster.get(NODE, "", name)
            well = node is not None and _is_ready(node)
        except Refused:
            well = None
        self._known[name] = (well, now)
        return well


def _is_ready(node: Object) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
