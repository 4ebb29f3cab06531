"""A small interpreter that forks once for each test of a model-written program.

Forking costs about 2 ms where starting an interpreter costs 30. The zygote knows nothing worth
stealing: it is told the program and the limits, and handed descriptors for the input and for the
output; the expected output stays with the process that compares (sandbox.py).

Started as `python -S -s -P zygote.py SOCKET_FD PACKAGES`, so the standard library and the packages
named there (JSON: name, directory) are all there is. Each request is one JSON line {source, before,
entry, prepared, cpuSeconds, idleSeconds, wallSeconds, memoryBytes, outputBytes} that carries three
or four descriptors (stdin, stdout, stderr; the result of a call); each answer is one JSON line, see
`_run`.
"""

import array
import builtins
import gc
import json
import os
import random
import signal
import socket
import sys
import time
import types
import typing

_HERE = os.path.dirname(os.path.abspath(__file__))
# In the place of packages whose own code needs what is not installed here.
for _package, _folder in (
    ("acereason_trainer.rewards", os.path.dirname(_HERE)),
    ("acereason_trainer", os.path.dirname(os.path.dirname(_HERE))),
):
    sys.modules[_package] = types.ModuleType(_package)
    sys.modules[_package].__path__ = [_folder]

from acereason_trainer import processes  # noqa: E402
from acereason_trainer.rewards.sandboxed import (  # noqa: E402
    execution,
    interpreter,
    limits,
    walls,
    watch,
)

# No program imports what is ours.
for _package in [name for name in sys.modules if name.partition(".")[0] == "acereason_trainer"]:
    del sys.modules[_package]

_RULESET_FD, _STARTED_FD = 100, 101
"""Above the numbers that a program's own descriptors get."""
_LIBRARIES = [os.path.dirname(os.__file__), "/lib", "/lib64", "/usr/lib", "/usr/lib64"]


def main() -> None:
    """Serve requests until the other end closes."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    packages: dict[str, str] = json.loads(sys.argv[2])
    offered = interpreter.Offered(packages)
    walls.drop_capabilities()
    walls.forbid_new_privileges()
    processes.die_with_parent()
    processes.adopt_orphans()
    walls.set_inspectable(0)
    _enter_a_directory_that_is_gone()
    interpreter.make_like_a_terminal_start(offered)
    folders = [folder for d in packages.values() for folder in (d, f"{d}.libs")]
    ruleset = walls.read_only_ruleset(_LIBRARIES + folders)
    if ruleset is not None:
        os.dup2(ruleset, _RULESET_FD)
        os.close(ruleset)
        ruleset = _RULESET_FD
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    interpreter.open_streams()
    # What is made once here need not be made in every fork.
    walls.filter_for_program(os.getpid()), interpreter.prepared(), limits.bare()
    standing = _walls_that_stand(ruleset)
    if standing["seccomp"] and not walls.restrict_system_calls(walls.filter_for_zygote()):
        raise SystemExit("the kernel took half of the system call filter, and not the other half")
    _answer(channel, {"walls": standing})
    gc.freeze()
    while request := _receive(channel):
        line, descriptors = request
        try:
            asked = json.loads(line)
            if offered.import_for(asked["source"], *asked["before"]):
                limits.bare.cache_clear()
                limits.bare()
                gc.freeze()
            answer = _run(asked, descriptors, ruleset, standing)
        except OSError as e:
            answer = {"failed": str(e)}
        for descriptor in descriptors:
            os.close(descriptor)
        _answer(channel, answer)


def _enter_a_directory_that_is_gone() -> None:
    """Nothing can be created in it, and nothing is left behind."""
    directory = os.path.join("/tmp", f"acereason-zygote-{os.getpid()}")
    os.mkdir(directory, 0o700)
    os.chdir(directory)
    os.rmdir(directory)


def _walls_that_stand(ruleset: int | None) -> dict[str, bool]:
    """Try the walls on a fork of this process."""
    pid = os.fork()
    if pid == 0:
        paths, calls = _put_up_walls(ruleset)
        os._exit(2 * paths + calls)
    stands = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return {"landlock": bool(stands & 2), "seccomp": bool(stands & 1)}


def _put_up_walls(ruleset: int | None) -> tuple[bool, bool]:
    paths = ruleset is not None and walls.restrict_paths(ruleset)
    calls = walls.restrict_system_calls(walls.filter_for_program(os.getpid()))
    return paths, calls


def _receive(channel: socket.socket) -> tuple[bytes, list[int]] | None:
    """One line and the descriptors that came with its first byte; None at the end."""
    descriptors = array.array("i")
    line = bytearray()
    while not line.endswith(b"\n"):
        data, ancillary, _, _ = channel.recvmsg(1 << 20, socket.CMSG_LEN(4 * 4))
        if not data:
            return None
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(payload[: len(payload) // 4 * 4])
        line += data
    return bytes(line), list(descriptors)


def _answer(channel: socket.socket, answer: dict[str, object]) -> None:
    channel.sendall(json.dumps(answer).encode() + b"\n")


def _run(
    request: dict[str, typing.Any], fds: list[int], ruleset: int | None, standing: dict[str, bool]
) -> dict[str, object]:
    """One test in one fork: {exit, signal, cpuSeconds, wallSeconds, idleSeconds, late, crowded,
    peakBytes}, or {failed: why}."""
    started_r, started_w = os.pipe()
    os.dup2(started_w, _STARTED_FD)
    os.close(started_w)
    start, zygote = time.monotonic(), os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            _be_the_program(request, fds, ruleset, standing, zygote)
        finally:
            os._exit(1)
    os.close(_STARTED_FD)
    ended_by, idle = watch.wait(
        pid, request["cpuSeconds"], request["idleSeconds"], start + request["wallSeconds"]
    )
    # Not reaped yet, so that nobody else can have its number.
    watch.kill_session(pid)
    _, status, usage = os.wait4(pid, 0)
    processes.end_children()
    started = os.read(started_r, 1)
    os.close(started_r)
    if not started:
        return {"failed": "the sandbox could not be set up"}
    if ended_by == "starved":
        return {"failed": "the machine had no time for the program"}
    cpu = usage.ru_utime + usage.ru_stime
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    if killed and not ended_by and standing["seccomp"] and cpu < request["cpuSeconds"]:
        # The walls keep it from doing so itself.
        return {"failed": "the machine killed the program: was there no memory left?"}
    return {
        "exit": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
        "cpuSeconds": cpu,
        "wallSeconds": time.monotonic() - start,
        "idleSeconds": idle,
        "late": ended_by == "late",
        "crowded": ended_by == "crowded",
        "peakBytes": max(0, usage.ru_maxrss * 1024 - limits.bare()[1]),
    }


def _be_the_program(
    request: dict[str, typing.Any],
    fds: list[int],
    ruleset: int | None,
    standing: dict[str, bool],
    zygote: int,
) -> None:
    """From here on this fork is the model's program: no way back, no return."""
    os.setsid()
    processes.die_with_parent(zygote)
    for target, descriptor in enumerate(fds):
        os.dup2(descriptor, target)
    limits.impose(request, may_fork=not standing["seccomp"])
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    walls.set_inspectable(1)
    paths, calls = _put_up_walls(ruleset)
    if {"landlock": paths, "seccomp": calls} != standing:
        os._exit(1)
    os.write(_STARTED_FD, b"1")
    os.closerange(len(fds), 1024)
    # The module seeds itself in every fork; a randomised program must have one verdict.
    random.seed(0)
    module = types.ModuleType("__main__")
    module.__dict__["__builtins__"] = builtins
    if request["prepared"]:
        module.__dict__["__builtins__"] = interpreter.prepared()
        sys.setrecursionlimit(interpreter.PREPARED_DEPTH)
    os._exit(execution.execute(module, request["source"], request["before"], request["entry"]))


if __name__ == "__main__":
    main()
