"""What a run needs beside its Jobs: a Service for its ranks, its claim, a wall around its pods."""

from acereason_operator.api.run import AceReasonRun
from acereason_operator.cluster.job import owner_reference
from acereason_operator.cluster.network import network_policy_for
from acereason_operator.cluster.protocol import (
    CLAIM,
    NETWORK_POLICY,
    SERVICE,
    AlreadyExists,
    Cluster,
    Object,
)
from acereason_operator.cluster.service import service_for
from acereason_operator.cluster.storage import claim_for

KINDS = {kind.kind: kind for kind in (CLAIM, NETWORK_POLICY, SERVICE)}


def objects_for(run: AceReasonRun) -> tuple[Object, ...]:
    """The objects, in the order in which they are made."""
    owner = owner_reference(run)
    parts = (claim_for(run), network_policy_for(run, owner), service_for(run, owner))
    return tuple(part for part in parts if part is not None)


async def make_objects(cluster: Cluster, run: AceReasonRun) -> None:
    """Make them, or make them as they should be. Raises ClusterError.

    A claim is only ever created: one that exists may have been made by a person or for another run,
    and its spec can't be changed.
    """
    for body in objects_for(run):
        kind = KINDS[body["kind"]]
        if kind is not CLAIM:
            await cluster.apply(kind, body)
            continue
        try:
            await cluster.create(kind, body)
        except AlreadyExists:
            continue
