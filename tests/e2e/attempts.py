"""What an intruder would try from inside of a pod. Read by `python3 -` in the container.

Prints one JSON object: for each attempt, "" where it succeeded, else what refused it. Arguments: a
namespace and the name of a Secret in it that is somebody else's.
"""

import ctypes
import json
import os
import socket
import ssl
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

NAMESPACE, SECRET = sys.argv[1], sys.argv[2]
TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
CLONE_NEWNS, CLONE_NEWUSER, MS_BIND = 0x20000, 0x10000000, 4096
POD = {"metadata": {"name": "intruder"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


def ask(method: str, path: str, body: object = None) -> None:
    """A request to the API server, with the pod's token where it has one."""
    request = urllib.request.Request(
        f"https://kubernetes.default.svc{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    if TOKEN.exists():
        request.add_header("Authorization", f"Bearer {TOKEN.read_text()}")
    anybody = ssl._create_unverified_context()  # an intruder does not mind
    with urllib.request.urlopen(request, context=anybody, timeout=300) as answer:
        answer.read()


def call(name: str, *arguments: object) -> None:
    """A function of the C library that returns -1 where it fails."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), name)


def write(path: str) -> None:
    """Make a file, and take it away again."""
    file = Path(path)
    file.write_text("intruder")
    file.unlink()


def make_a_device() -> None:
    """That of a disk."""
    os.mknod("/tmp/disk", 0o600 | 0o060000, os.makedev(8, 0))
    Path("/tmp/disk").unlink()


def mount() -> None:
    """A folder over another one, and take it away again."""
    call("mount", b"/tmp", b"/mnt", b"none", MS_BIND, None)
    call("umount", b"/mnt")


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


IN_CORE = f"/api/v1/namespaces/{NAMESPACE}"
ATTEMPTS: dict[str, Callable[[], None]] = {
    "read somebody's Secret": lambda: ask("GET", f"{IN_CORE}/secrets/{SECRET}"),
    "list Secrets": lambda: ask("GET", f"{IN_CORE}/secrets"),
    "make a pod": lambda: ask("POST", f"{IN_CORE}/pods", POD),
    "make a run": lambda: ask(
        "POST", f"/apis/acereason.dev/v1alpha1/namespaces/{NAMESPACE}/acereasonruns", {}
    ),
    "run a command elsewhere": lambda: ask("POST", f"{IN_CORE}/pods/any/exec?command=id"),
    "list nodes": lambda: ask("GET", "/api/v1/nodes"),
    "write to /": lambda: write("/intruder"),
    "write to /etc": lambda: write("/etc/intruder"),
    "write to /var/tmp": lambda: write("/var/tmp/intruder"),
    "write to /run/lock": lambda: write("/run/lock/intruder"),
    "write to /usr/bin": lambda: write("/usr/bin/intruder"),
    "write to the library": lambda: write(str(Path(os.__file__).with_name("intruder.py"))),
    "write beside the stage file": lambda: write("/etc/acereason/intruder"),
    "become root": lambda: os.setuid(0),
    "become another user": lambda: os.setuid(1000),
    "have capabilities": has_capabilities,
    "gain privileges": gains_privileges,
    "change the root": lambda: os.chroot("/tmp"),
    "mount": mount,
    "enter a mount namespace": lambda: call("unshare", CLONE_NEWNS),
    "enter a user namespace": lambda: call("unshare", CLONE_NEWUSER),
    "send raw packets": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close(),
    "make a device": make_a_device,
    "read the host's memory": lambda: Path("/dev/mem").open("rb").close(),
}


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


if __name__ == "__main__":
    print(json.dumps({name: refused_by(attempt) for name, attempt in ATTEMPTS.items()}))
