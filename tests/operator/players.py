"""Who plays the kubelet on a real API server, where there is none: patches the status of pods."""

import threading
import urllib.error
from typing import Any

from acereason_operator.cluster import labels
from acereason_operator.cluster.protocol import Object
from fake_controllers import FakeStore

from tests.controlplane.control_plane import ControlPlane


class Player:
    """A thread that lets every pod of ours in a namespace run and do its work. Use with `with`."""

    def __init__(self, control_plane: ControlPlane, namespace: str) -> None:
        self.store = FakeStore()
        self._control_plane = control_plane
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._play)
        self.failure: BaseException | None = None

    def __enter__(self) -> "Player":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def _play(self) -> None:
        selector = f"{labels.MANAGED_BY}%3D{labels.MANAGER}"
        try:
            while not self._stop.wait(0.05):
                listed = self._control_plane.request(
                    "GET", f"{self._pods}?labelSelector={selector}"
                )
                for pod in listed["items"]:
                    self._move(pod)
        except BaseException as failure:  # noqa: BLE001 shown by whoever waits for us
            self.failure = failure

    def _move(self, pod: Object) -> None:
        """One step of a pod's life: Pending, Running, Succeeded."""
        status, names = pod["status"], [c["name"] for c in pod["spec"]["containers"]]
        if status["phase"] == "Pending":
            state: dict[str, Any] = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
            phase = "Running"
        elif status["phase"] == "Running":
            end = self.store.work(pod)
            state = {
                "terminated": {
                    "exitCode": end.code,
                    "reason": "Completed",
                    "message": end.message,
                    "startedAt": "2026-01-01T00:00:00Z",
                    "finishedAt": "2026-01-01T00:00:01Z",
                }
            }
            phase = "Succeeded"
        else:
            return
        containers = [
            {
                "name": name,
                "image": "x",
                "imageID": "x",
                "ready": phase == "Running",
                "restartCount": 0,
                "state": state,
            }
            for name in names
        ]
        pod["status"] |= {"phase": phase, "podIP": "127.0.0.1", "containerStatuses": containers}
        try:
            self._control_plane.request(
                "PUT", f"{self._pods}/{pod['metadata']['name']}/status", pod
            )
        except urllib.error.HTTPError as error:
            if error.code not in (404, 409):
                raise
