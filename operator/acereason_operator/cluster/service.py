"""The headless Service of a run: how the pods of a stage with several nodes find each other."""

from hashlib import sha256

from acereason_operator.api.run import AceReasonRun
from acereason_operator.cluster import labels
from acereason_operator.cluster.protocol import Object


def service_name(run: AceReasonRun) -> str:
    """`arr-<run>-<hash>`, at most 53 characters.

    A letter stands in front (a Service's name needs one, a run's does not). The hash is of the
    run's uid: a run that is made again must not meet the Service that is being removed with the old
    one, nor a Service of somebody else.
    """
    mark = sha256(run.metadata.uid.encode()).hexdigest()[:8]
    return f"arr-{run.metadata.name}-{mark}"


def service_for(run: AceReasonRun, owner: Object) -> Object | None:
    """The Service; None where no stage has several nodes.

    Addresses of pods that are not ready yet are published: ranks meet before anything is ready.
    """
    if not any(_nodes(run, i) > 1 for i in range(len(run.spec.stages))):
        return None
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": service_name(run),
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


def _nodes(run: AceReasonRun, i: int) -> int:
    return run.spec.stages[i].nodes or run.spec.defaults.nodes or 1
