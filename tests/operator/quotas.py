"""Quotas that leave no room, on a real API server."""

import json
import urllib.error

from acereason_operator.cluster.api_server import path_of
from acereason_operator.cluster.protocol import JOB, POD, Kind, Object

from tests.controlplane.control_plane import ControlPlane
from tests.waiting import wait_for

COUNTED = {POD: "pods", JOB: "count/jobs.batch"}
_POD: Object = {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}
_ONE_MORE = {POD: {"spec": _POD}, JOB: {"spec": {"template": {"spec": _POD}}}}


def no_room_for(kind: Kind, control_plane: ControlPlane, namespace: str, name: str) -> str:
    """Make a quota that refuses Pods or Jobs; its path, once it does: until a controller has
    counted what there is, everything gets through."""
    quotas = f"/api/v1/namespaces/{namespace}/resourcequotas"
    quota = {"metadata": {"name": name}, "spec": {"hard": {COUNTED[kind]: "0"}}}
    control_plane.request("POST", quotas, quota)
    one_more = {"metadata": {"name": "one-more"}, **_ONE_MORE[kind]}
    path = f"{path_of(kind, namespace)}?dryRun=All"

    def refuses() -> bool:
        try:
            control_plane.request("POST", path, one_more)
        except urllib.error.HTTPError as refusal:
            # Before it is counted it may also be refused since nobody knows its use.
            return f"exceeded quota: {name}" in json.load(refusal)["message"]
        return False

    wait_for(refuses, f"the quota {name} to count", every=0.1)
    return f"{quotas}/{name}"
