"""The trainer's end of a process that imports once, and forks another whenever it is asked to.

To import sympy takes seconds on a busy machine, to fork takes milliseconds: a checking process that
had to be killed is replaced at once, and each begins in the same state. Each worker of a pool
(pool.py) has a nursery of its own; the other end is worker.py.

First it is sent the `Setup`; then, in turn, "begin" with a descriptor, answered by the number of a
checking process that talks over that descriptor or by a sentence, and "end", answered by its exit
code.
"""

import os
import socket
import struct
import subprocess
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle

from acereason_trainer.rewards.jobs import Setup

_ANSWER_SECONDS = 120.0
_SEND_SECONDS = 120
"""A checking process that takes nothing from a message for so long hangs."""


@dataclass(frozen=True)
class Life:
    """A checking process."""

    pid: int
    connection: Connection


class Nursery:
    """The trainer's end. Not thread-safe, but for `kill`.

    Every method raises OSError or EOFError where the nursery cannot be started or is gone.
    """

    def __init__(self, setup: Setup) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "acereason_trainer.rewards.worker",
                    str(theirs.fileno()),
                    str(os.getpid()),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # The order in which sympy meets the terms of a sum must not decide a verdict.
                env={**os.environ, "PYTHONHASHSEED": "0"},
                # A Ctrl-C at the terminal is for the runner, which stops the stage in order.
                start_new_session=True,
            )
            self._control = Connection(ours.detach())
        try:
            self._control.send(setup)
        except OSError:
            self.close()
            raise

    def begin(self) -> Life:
        """Have a checking process; the one before must have been ended."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            # A connection itself knows no limit for sending.
            seconds = struct.pack("ll", _SEND_SECONDS, 0)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
            self._control.send("begin")
            send_handle(self._control, theirs.fileno(), self._process.pid)
            answer = self._answer()
            if isinstance(answer, str):
                raise OSError(answer)
            return Life(answer, Connection(ours.detach()))

    def end(self) -> int:
        """Kill the checking process if it still runs; its exit code, negative for a signal."""
        self._control.send("end")
        answer = self._answer()
        assert isinstance(answer, int)
        return answer

    def kill(self) -> None:
        """End the nursery; the kernel ends its checking process with it. Safe from any thread."""
        self._process.kill()

    def close(self) -> int:
        """Kill and reap; its own exit code."""
        self._control.close()
        self._process.kill()
        return self._process.wait()

    def _answer(self) -> int | str:
        if not self._control.poll(_ANSWER_SECONDS):
            raise OSError(f"no answer within {_ANSWER_SECONDS:g} s")
        answer: int | str = self._control.recv()
        return answer
