"""The volume that a run's artifacts and states live in: a claim, existing or made from a template.

A claim has no owner: deleting a run never deletes artifacts.
"""

from acereason_operator.api.run import AceReasonRun
from acereason_operator.cluster import labels
from acereason_operator.cluster.protocol import Object


def unsupported(run: AceReasonRun) -> str | None:
    """A sentence on what keeps a run from a cluster; None where nothing does."""
    storage = run.spec.storage
    if storage.directory is not None:
        return (
            "spec.storage.directory is a directory of one machine (acereason run FILE); on a "
            "cluster use spec.storage.claim or spec.storage.claimTemplate"
        )
    if storage.object_store is not None:
        return (
            "spec.storage.objectStore: object stores cannot be used yet; use spec.storage.claim or "
            "spec.storage.claimTemplate"
        )
    return None


def claim_name(run: AceReasonRun) -> str:
    """Name of the run's PersistentVolumeClaim. The run must be supported on a cluster."""
    storage = run.spec.storage
    name = storage.claim_template.name if storage.claim_template else storage.claim
    if name is None:
        raise AssertionError("unsupported() refuses runs without a claim")
    return name


def claim_for(run: AceReasonRun) -> Object | None:
    """The claim to be made where there is none of its name; None where the run brings its own."""
    template = run.spec.storage.claim_template
    if template is None:
        return None
    spec: Object = {
        "accessModes": [template.access_mode],
        "resources": {"requests": {"storage": template.storage}},
    }
    if template.storage_class_name is not None:
        spec["storageClassName"] = template.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": template.name,
            "namespace": run.metadata.namespace,
            "labels": dict(labels.MANAGED),
        },
        "spec": spec,
    }
