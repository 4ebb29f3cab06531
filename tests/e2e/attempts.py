"""What an intruder would try from inside of a pod. Read by `python3 -` in the container.

    python3 - machine ROOT                      # on what it runs on, with paths below ROOT
    python3 - server URL TOKEN NAMESPACE SECRET # at an API server, with the token of that file if
                                                # it is there; the Secret is somebody else's

Prints one JSON object: for each attempt, "" where it succeeded, else what refused it.
"""

import ctypes
import json
import os
import socket
import ssl
import sys
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER, MS_BIND = 0x20000, 0x10000000, 4096
LIBRARY = str(Path(os.__file__).parent).lstrip("/")
CONTAINER = {"name": "c", "image": "i"}
POD = {"metadata": {"name": "intruder"}, "spec": {"containers": [CONTAINER]}}
RUN = {
    "apiVersion": "acereason.dev/v1alpha1",
    "kind": "AceReasonRun",
    "metadata": {"name": "intruder"},
    "spec": {
        "model": {"path": "/rows"},
        "storage": {"claim": "c"},
        "stages": [{"name": "s", "inputs": {"data": {"path": "/rows/r.jsonl"}}, "curate": {}}],
    },
}
NOT_KEPT = "dryRun=All"
"""Whoever may make an object is told so, and none is made."""
Attempts = Mapping[str, Callable[[], None]]


@dataclass(frozen=True)
class Server:
    """An API server, and the Secret that is asked for."""

    url: str
    token: Path
    namespace: str
    secret: str

    def attempts(self) -> Attempts:
        """What only the API server can refuse."""
        core = f"/api/v1/namespaces/{self.namespace}"
        runs = f"/apis/acereason.dev/v1alpha1/namespaces/{self.namespace}/acereasonruns"
        return {
            "read somebody's Secret": lambda: self._ask("GET", f"{core}/secrets/{self.secret}"),
            "list Secrets": lambda: self._ask("GET", f"{core}/secrets"),
            "make a pod": lambda: self._ask("POST", f"{core}/pods?{NOT_KEPT}", POD),
            "make a run": lambda: self._ask("POST", f"{runs}?{NOT_KEPT}", RUN),
            "run a command elsewhere": lambda: self._ask(
                "POST", f"{core}/pods/any/exec?command=id"
            ),
            "list nodes": lambda: self._ask("GET", "/api/v1/nodes"),
        }

    def _ask(self, method: str, path: str, body: object = None) -> None:
        """A request, with the token where there is one."""
        request = urllib.request.Request(
            f"{self.url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        if self.token.exists():
            request.add_header("Authorization", f"Bearer {self.token.read_text()}")
        anybody = ssl._create_unverified_context()  # an intruder does not mind
        with urllib.request.urlopen(request, context=anybody, timeout=300) as answer:
            answer.read()


@dataclass(frozen=True)
class Machine:
    """What a program runs on: its kernel, and the files below a root."""

    root: Path

    def attempts(self) -> Attempts:
        """What the kernel or the container refuses."""
        return {
            "write to /": lambda: self._write("intruder"),
            "write to /etc": lambda: self._write("etc/intruder"),
            "write to /var/tmp": lambda: self._write("var/tmp/intruder"),
            "write to /run/lock": lambda: self._write("run/lock/intruder"),
            "write to /usr/bin": lambda: self._write("usr/bin/intruder"),
            "write to the library": lambda: self._write(f"{LIBRARY}/intruder.py"),
            "write beside the stage file": lambda: self._write("etc/acereason/intruder"),
            "become root": lambda: os.setuid(0),
            "become another user": lambda: os.setuid(1000),
            "have capabilities": has_capabilities,
            "gain privileges": gains_privileges,
            "change the root": lambda: os.chroot(self.root / "tmp"),
            "mount": self._mount,
            "enter a mount namespace": lambda: call("unshare", CLONE_NEWNS),
            "enter a user namespace": lambda: call("unshare", CLONE_NEWUSER),
            "send raw packets": send_raw_packets,
            "make a device": self._make_a_device,
            "read the host's memory": lambda: Path("/dev/mem").open("rb").close(),
        }

    def _write(self, path: str) -> None:
        """Make a file, and take it away again."""
        file = self.root / path
        file.write_text("intruder")
        file.unlink()

    def _mount(self) -> None:
        """A folder over another one, and take it away again."""
        over = bytes(self.root / "mnt")
        call("mount", bytes(self.root / "tmp"), over, b"none", MS_BIND, None)
        call("umount", over)

    def _make_a_device(self) -> None:
        """That of a disk."""
        disk = self.root / "tmp" / "disk"
        os.mknod(disk, 0o600 | 0o060000, os.makedev(8, 0))
        disk.unlink()


def call(name: str, *arguments: object) -> None:
    """A function of the C library that returns -1 where it fails."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), name)


def has_capabilities() -> None:
    """Any capability at all, or the way to get some by running another program."""
    status = dict(
        line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines()
    )
    if int(status["CapEff"], 16) == 0 and int(status["CapBnd"], 16) == 0:
        raise PermissionError("no capability, now or ever")


def gains_privileges() -> None:
    """Programs with the setuid bit would lend their owner's rights."""
    if "NoNewPrivs:\t1" in Path("/proc/self/status").read_text():
        raise PermissionError("no new privileges")


def send_raw_packets() -> None:
    """A socket for them."""
    socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close()


def refused_by(attempt: Callable[[], None]) -> str:
    """What refuses it; empty where nothing does. In a process of its own, which it may change."""
    read, write_end = os.pipe()
    if os.fork() == 0:
        said = ""
        try:
            attempt()
        except OSError as error:
            said = f"{type(error).__name__}: {error}"
        os.write(write_end, said.encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    _, status = os.wait()
    assert status == 0, "an attempt ended otherwise than it was written"
    return said


def told(words: list[str]) -> Attempts:
    """The attempts that the command line asks for."""
    match words:
        case ["machine", root]:
            return Machine(Path(root)).attempts()
        case ["server", url, token, namespace, secret]:
            return Server(url, Path(token), namespace, secret).attempts()
    sys.exit(__doc__)


if __name__ == "__main__":
    print(json.dumps({name: refused_by(attempt) for name, attempt in told(sys.argv[1:]).items()}))
