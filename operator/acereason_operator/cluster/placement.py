"""On which nodes the pods of an attempt go."""

from acereason_operator.cluster import labels
from acereason_operator.cluster.protocol import Object

HOST = "kubernetes.io/hostname"


def affinity(job: str, nodes: int, avoid_node: str) -> Object:
    """`{"affinity": ...}` for a pod spec, or nothing.

    nodes: with several, each pod gets a node of its own: two on one node would share its GPUs'
    links and die together. avoid_node: a node whose copy of an input was bad; another one is
    preferred, since there may be no other.
    """
    parts: Object = {}
    if avoid_node:
        elsewhere = {"key": "metadata.name", "operator": "NotIn", "values": [avoid_node]}
        parts["nodeAffinity"] = {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 100, "preference": {"matchFields": [elsewhere]}}
            ]
        }
    if nodes > 1:
        parts["podAntiAffinity"] = {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": HOST, "labelSelector": {"matchLabels": {labels.JOB_NAME: job}}}
            ]
        }
    return {"affinity": parts} if parts else {}
