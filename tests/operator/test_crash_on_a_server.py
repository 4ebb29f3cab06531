"""A sample of the troubles against a real API server: kill -9 at its requests, a server that is
stopped, and one that stands still.

The operator reaches the server through a relay that sees how much is sent, and not what: the kill
comes before a request is passed on, or before its answer is.
"""

import json
import random
import signal
import socket
import subprocess
import threading
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from fake_controllers import FakeStore
from operator_process import Installation
from players import Player

from tests.controlplane.control_plane import ControlPlane
from tests.controlplane.lifetimes import private_control_plane
from tests.waiting import PATIENCE, wait_for

KILLS = 3


class Relay:
    """A port that leads to the API server. Use with `with`."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._lock = threading.Lock()
        self._left: int | None = None
        self._side = "before"
        self._do: Callable[[], None] = lambda: None

    def __enter__(self) -> "Relay":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def arm(self, sent: int, side: str, do: Callable[[], None]) -> None:
        """Do something when so many more pieces were sent to the server: before the last of them is
        passed on, or before anything that the server says after it is."""
        with self._lock:
            self._left, self._side, self._do = sent, side, do

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                client.close()
                continue
            for way in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pass_on, args=way, daemon=True).start()

    def _pass_on(self, come: socket.socket, go: socket.socket, asks: bool) -> None:
        try:
            while piece := come.recv(65536):
                self._note(asks)
                go.sendall(piece)
        except OSError:
            pass  # one of them is gone, and so shall be the other
        for end in (come, go):
            _closed(end)

    def _note(self, asks: bool) -> None:
        with self._lock:
            if self._left is None:
                return
            if asks:
                self._left -= 1
            if self._left <= 0 and asks == (self._side == "before"):
                self._left = None
                self._do()


def _closed(end: socket.socket) -> None:
    """Close a connection that may be closed."""
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


class World:
    """A control plane with one run, its operator, and what was seen of the Jobs."""

    def __init__(self, control_plane: ControlPlane, relay: Relay, folder: Path) -> None:
        self.installed = Installation.on(control_plane)
        self.control_plane = control_plane
        self.store = FakeStore()
        self.uids: dict[str, set[str]] = {}
        """Of the Jobs of each name."""
        self.kubeconfig = folder / "kubeconfig"
        text = self.installed.account.kubeconfig.read_text()
        self.kubeconfig.write_text(
            text.replace(control_plane.url, f"https://127.0.0.1:{relay.port}")
        )
        self.log = folder / "operator.log"

    def jobs(self) -> int:
        """How many Jobs there have been; notes who they are."""
        path = f"/apis/batch/v1/namespaces/{self.installed.namespace}/jobs"
        for job in self.control_plane.request("GET", path)["items"]:
            meta = job["metadata"]
            self.uids.setdefault(meta["name"], set()).add(meta["uid"])
        return len(self.uids)

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Let the kubelets play until something holds."""

        def does_hold() -> bool:
            self.jobs()
            return holds()

        with Player(self.control_plane, self.installed.namespace) as player:
            player.store = self.store
            wait_for(
                does_hold,
                what,
                lambda: f"{self.installed.status()} {self.log.read_text()[-3000:]}",
            )

    @contextmanager
    def an_operator(self) -> Iterator["subprocess.Popen[bytes]"]:
        """One replica, which may take the Lease at once."""
        try:
            self.control_plane.request("DELETE", self.installed.lease)
        except urllib.error.HTTPError as error:
            assert error.code == 404
        with self.installed.an_operator(self.log, self.kubeconfig) as operator:
            yield operator.process


@pytest.mark.slow
def test_a_run_goes_through_kills_and_through_a_server_that_is_stopped_and_paused(
    tmp_path: Path,
) -> None:
    """About 50 s: four starts of the operator, one of a control plane, and the pause."""
    draw = random.Random(5)
    with (
        private_control_plane() as control_plane,
        Relay(control_plane.ports["kube-apiserver"]) as relay,
    ):
        world = World(control_plane, relay, tmp_path)
        is_complete = world.installed.is_complete
        world.installed.apply()
        for number in range(KILLS):
            with world.an_operator() as operator:
                side = ("before", "after")[number % 2]
                relay.arm(draw.randrange(20, 35), side, operator.kill)
                world.until(lambda process=operator: process.poll() is not None, "the kill")
                assert operator.returncode == -signal.SIGKILL, world.log.read_text()
        with world.an_operator() as operator:
            before = world.jobs()
            assert not is_complete(), "there is nothing left to be disturbed"
            control_plane.stop("kube-apiserver")
            wait_for(lambda: "the Lease " in world.log.read_text(), "a renewal that fails")
            control_plane.start("kube-apiserver")
            world.until(lambda: world.jobs() > before or is_complete(), "another Job")
            control_plane.pause("kube-apiserver")
            said = "does not lead any more"
            told = world.log.read_text().count(said)
            wait_for(lambda: world.log.read_text().count(said) > told, "the lead's end")
            control_plane.go_on("kube-apiserver")
            world.until(is_complete, "the run")
            assert operator.poll() is None, world.log.read_text()
            operator.send_signal(signal.SIGTERM)
            assert operator.wait(PATIENCE) == 0
        world.jobs()
        status = world.installed.status()
        assert "Traceback" not in world.log.read_text()
    assert len(world.uids) == 8
    assert {name: len(uids) for name, uids in world.uids.items() if len(uids) > 1} == {}
    for stage in status["stages"]:
        assert stage["attempts"] == 1, stage
        assert set(stage["spent"].values()) == {0}, stage
    assert "kopf" not in json.dumps(status)
