"""The headless Service of a run: how the pods of a stage with several nodes find each other."""

from acereason_operator.api.run import AceReasonRun
from acereason_operator.cluster import labels
from acereason_operator.cluster.names import run_object_name
from acereason_operator.cluster.protocol import Object


def service_for(run: AceReasonRun, owner: Object) -> Object | None:
    """The Service; None where no stage has several nodes.

    Addresses of pods that are not ready yet are published: ranks meet before anything is ready.
    """
    if not any((stage.nodes or run.spec.defaults.nodes or 1) > 1 for stage in run.spec.stages):
        return None
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": run_object_name(run),
            "namespace": run.metadata.namespace,
            "labels": labels.of_run(run.metadata.name),
            "ownerReferences": [owner],
        },
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {**labels.of_run(run.metadata.name), labels.PHASE: "train"},
        },
    }
