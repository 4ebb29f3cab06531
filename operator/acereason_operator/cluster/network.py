"""Who may reach a run's pods.

Ranks trust whoever reaches their rendezvous and collective ports: nothing there asks for a
password, and what arrives is unpickled. So only pods of the same run may, and `/metrics` alone is
open. Where pods may go to is left open: sources are downloaded, and model-written code has no
network in its sandbox anyway. (A cluster without a network plugin that enforces policies ignores
this.)
"""

from acereason_operator.api.run import AceReasonRun
from acereason_operator.cluster import labels
from acereason_operator.cluster.names import run_object_name
from acereason_operator.cluster.protocol import Object


def network_policy_for(run: AceReasonRun, owner: Object) -> Object:
    """The policy of a run's pods."""
    pods = {"matchLabels": labels.of_run(run.metadata.name)}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": run_object_name(run),
            "namespace": run.metadata.namespace,
            "labels": labels.of_run(run.metadata.name),
            "ownerReferences": [owner],
        },
        "spec": {
            "podSelector": pods,
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": [{"podSelector": pods}]},
                {"ports": [{"port": "metrics", "protocol": "TCP"}]},
            ],
        },
    }
