"""Runs a model-written program on one input, and says what came of it.

The other end of zygote.py. Input and output are anonymous files in memory: the program reads and
writes real descriptors, the kernel cuts the output at its limit (RLIMIT_FSIZE), and there is no
pipe to drain or to flood.
"""

import contextlib
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

from acereason_trainer.config.common import CodeLimits

_ZYGOTE = Path(__file__).with_name("zygote.py")
_MAIN_STACK = 256 << 20
_STDERR_TAIL = 4096
# The program's CPU seconds are limited, so that a busy machine changes no verdict; the clock on the
# wall only ends sleepers, and is far behind.
_WALL_FACTOR, _WALL_EXTRA = 4, 2.0
_ANSWER_SLACK = 30.0
"""Seconds beyond the wall limit after which the zygote itself counts as lost."""


class SandboxLost(Exception):
    """The sandbox failed, not the program: nothing is known about the answer."""


@dataclass(frozen=True)
class Program:
    """What is run."""

    source: str
    entry: str | None = None
    """`function` or `Class.method` to call with the JSON arguments on stdin; None: a program that
    reads stdin and writes stdout."""


@dataclass(frozen=True)
class Outcome:
    """How one run ended."""

    exit_status: int | None
    """None where a signal ended it."""
    signal: int | None
    cpu_seconds: float
    wall_seconds: float
    late: bool
    """Killed at the wall limit."""
    stdout: bytes
    """At most one byte more than the limit."""
    stderr: str
    """Its end."""
    result: bytes
    """JSON that a called function returned."""


class Sandbox:
    """One zygote, started at the first run and again after it was lost. Not thread-safe."""

    def __init__(self, limits: CodeLimits) -> None:
        self._limits = limits
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
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                # A fixed hash seed: the order of a set of strings must not decide a verdict. One
                # malloc arena: many would use up the address space of a program with threads.
                env={"PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "1"},
            )
        self._channel = ours
        return dict(self._receive()["walls"])

    def run(self, program: Program, stdin: bytes, cpu_seconds: float) -> Outcome:
        """Run once with this much CPU time (whole seconds, rounded up).

        Raises SandboxLost when the zygote died or could not fork; the next run starts a new one.
        """
        if self._process is None:
            self.start()
        cpu = math.ceil(cpu_seconds)
        wall = _WALL_FACTOR * cpu_seconds + _WALL_EXTRA
        output_limit = self._limits.output_kib * 1024
        with contextlib.ExitStack() as files:
            names = ["stdin", "stdout", "stderr"] + ["result"] * (program.entry is not None)
            fds = {name: _memory_file(name, files) for name in names}
            _write_all(fds["stdin"], stdin)
            os.lseek(fds["stdin"], 0, os.SEEK_SET)
            answer = self._ask(
                {
                    "source": program.source,
                    "entry": program.entry,
                    "cpuSeconds": cpu,
                    "wallSeconds": wall,
                    "memoryBytes": self._limits.memory_mib << 20,
                    "outputBytes": output_limit + 1,
                },
                list(fds.values()),
                wall + _ANSWER_SLACK,
            )
            size = os.fstat(fds["stderr"]).st_size
            return Outcome(
                exit_status=answer["exit"],
                signal=answer["signal"],
                cpu_seconds=answer["cpuSeconds"],
                wall_seconds=answer["wallSeconds"],
                late=answer["late"],
                stdout=_content(fds["stdout"]),
                stderr=os.pread(fds["stderr"], _STDERR_TAIL, max(0, size - _STDERR_TAIL)).decode(
                    "utf-8", "replace"
                ),
                result=_content(fds["result"]) if program.entry is not None else b"",
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
