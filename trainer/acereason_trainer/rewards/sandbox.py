"""Runs a model-written program on one input, and says what came of it.

The other end of sandboxed/zygote.py. Input and output are anonymous files in memory: the program
reads and writes real descriptors, the kernel cuts the output at its limit (RLIMIT_FSIZE), and there
is no pipe to drain or to flood.
"""

import contextlib
import importlib.util
import json
import math
import os
import resource
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acereason_trainer.rewards.program import Program

_ZYGOTE = Path(__file__).with_name("sandboxed") / "zygote.py"
_MAIN_STACK = 256 << 20
_STDERR_TAIL = 4096
OFFERED = ("numpy", "sortedcontainers")
"""Packages that contest sites have beyond the standard library, and that models know they have."""
STARVED = 8
"""How many times as long as its limits a run may take on the wall before the machine is to blame:
a program that is ready to run and gets no processor is not late."""
CPU_TOLERANCE = 0.1
"""CPU seconds beyond its limit that a program gets: the interpreter's own start is among them."""
_ANSWER_SLACK = 30.0
"""Seconds beyond the wall limit after which the zygote itself counts as lost."""


class SandboxLost(Exception):
    """The sandbox failed, not the program: nothing is known about the answer."""


@dataclass(frozen=True)
class Allowance:
    """What one run may use."""

    cpu_seconds: float
    """It is ended within a tenth of a second beyond."""
    idle_seconds: float
    """Seconds in which it may do nothing (sleep, or wait for what never comes)."""
    memory_mib: int
    output_bytes: int
    """Of stdout, of stderr and of a call's result, each."""
    prepared: bool = False
    """It finds the names and the recursion limit of the site that asks for functions."""


@dataclass(frozen=True)
class Outcome:
    """How one run ended."""

    exit_status: int | None
    """None where a signal ended it."""
    signal: int | None
    cpu_seconds: float
    wall_seconds: float
    idle_seconds: float
    late: bool
    """Killed for its CPU time, or for doing nothing."""
    crowded: bool
    """Killed for its many threads."""
    peak_mib: float
    """Most memory that it held, beyond what the bare interpreter does."""
    flooded: bool
    """Wrote more than it may; `stdout` and `result` are empty then."""
    stdout: bytes
    stderr: str
    """Its end."""
    result: bytes
    """JSON that a called function returned."""


class Sandbox:
    """One zygote, started at the first run and again after it was lost. Not thread-safe."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None

    def start(self) -> dict[str, bool]:
        """Start the zygote; returns which walls stand (`landlock`, `seccomp`)."""
        ours, theirs = socket.socketpair()
        ours.settimeout(_ANSWER_SLACK)
        with theirs:
            hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
            stack = _MAIN_STACK if hard == resource.RLIM_INFINITY else min(_MAIN_STACK, hard)
            resource.setrlimit(resource.RLIMIT_STACK, (stack, hard))
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-S",
                    "-s",
                    "-P",
                    "-B",
                    "-X",
                    "utf8",
                    str(_ZYGOTE),
                    str(theirs.fileno()),
                    json.dumps(_offered()),
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                # A fixed hash seed: the order of a set of strings must not decide a verdict. One
                # malloc arena: many would use up the address space of a program with threads.
                env={
                    "PYTHONHASHSEED": "0",
                    "MALLOC_ARENA_MAX": "1",
                    "OPENBLAS_NUM_THREADS": "1",
                },
            )
        self._channel = ours
        return dict(self._receive()["walls"])

    def run(
        self, program: Program, call: str | None, stdin: bytes, allowance: Allowance
    ) -> Outcome:
        """Run once. `call`: `function` or `Class.method` to call with the JSON arguments on stdin;
        None: the program reads stdin and writes stdout.

        Raises SandboxLost when the zygote died or could not fork, or the machine gave the program
        no time; the next run starts a new one.
        """
        if self._process is None:
            self.start()
        wall = STARVED * (math.ceil(allowance.cpu_seconds) + allowance.idle_seconds)
        with contextlib.ExitStack() as files:
            names = ["stdin", "stdout", "stderr"] + ["result"] * (call is not None)
            fds = {name: _memory_file(name, files) for name in names}
            _write_all(fds["stdin"], stdin)
            os.lseek(fds["stdin"], 0, os.SEEK_SET)
            answer = self._ask(
                {
                    "source": program.source,
                    "before": program.before,
                    "entry": call,
                    "prepared": allowance.prepared,
                    "cpuSeconds": allowance.cpu_seconds + CPU_TOLERANCE,
                    "idleSeconds": allowance.idle_seconds,
                    "wallSeconds": wall,
                    "memoryBytes": allowance.memory_mib << 20,
                    "outputBytes": allowance.output_bytes + 1,
                },
                list(fds.values()),
                wall + _ANSWER_SLACK,
            )
            sizes = {name: os.fstat(fd).st_size for name, fd in fds.items() if name != "stdin"}
            flooded = max(sizes.values()) > allowance.output_bytes
            return Outcome(
                exit_status=answer["exit"],
                signal=answer["signal"],
                cpu_seconds=answer["cpuSeconds"],
                wall_seconds=answer["wallSeconds"],
                idle_seconds=answer["idleSeconds"],
                late=answer["late"],
                crowded=answer["crowded"],
                peak_mib=answer["peakBytes"] / (1 << 20),
                flooded=flooded,
                stdout=b"" if flooded else _content(fds["stdout"]),
                stderr=os.pread(
                    fds["stderr"], _STDERR_TAIL, max(0, sizes["stderr"] - _STDERR_TAIL)
                ).decode("utf-8", "replace"),
                result=_content(fds["result"]) if "result" in fds and not flooded else b"",
            )

    def close(self) -> None:
        """Kill the zygote; its program dies with it."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _ask(self, request: dict[str, object], fds: list[int], timeout: float) -> dict[str, Any]:
        assert self._channel is not None
        self._channel.settimeout(timeout)
        message = json.dumps(request).encode() + b"\n"
        try:
            sent = socket.send_fds(self._channel, [message], fds)
            self._channel.sendall(message[sent:])
        except OSError as e:
            self.close()
            raise SandboxLost(f"the zygote is gone: {e}") from e
        answer = self._receive()
        if "failed" in answer:
            self.close()
            raise SandboxLost(answer["failed"])
        return answer

    def _receive(self) -> dict[str, Any]:
        assert self._channel is not None
        line = bytearray()
        try:
            while not line.endswith(b"\n"):
                data = self._channel.recv(1 << 16)
                if not data:
                    raise SandboxLost("the zygote ended")
                line += data
        except (OSError, SandboxLost) as e:
            self.close()
            raise SandboxLost(f"no answer from the zygote: {e}") from e
        answer: dict[str, Any] = json.loads(line)
        return answer


def _offered() -> dict[str, str]:
    """Directories of the packages that programs may import and that are installed here."""
    found = {name: importlib.util.find_spec(name) for name in OFFERED}
    return {name: str(Path(s.origin).parent) for name, s in found.items() if s and s.origin}


def _memory_file(name: str, files: contextlib.ExitStack) -> int:
    descriptor = os.memfd_create(name)
    files.callback(os.close, descriptor)
    return descriptor


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _content(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
