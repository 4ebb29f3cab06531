"""How the ranks of an attempt meet and talk, and how they notice that one is gone.

What `Peers` settle goes over a channel of its own (gloo, over TCP), never behind what the GPUs are
doing. A rank that dies closes its connections, which its peers see at once; of one whose host is
gone the kernel hears no more, which it finds within minutes; one that hangs is the launcher's
watchdog's. So waiting there has no limit that matters, but for a rank that has failed:
its own end must not wait for one that hangs. The collectives of training have torch's own (30
minutes, also for NCCL, which has 10 only in a group of its own): within a step nobody waits for as
long.

A stop, and whatever else ends a rank's work badly, is also noted in the store at which the ranks
met: who is in the middle of long work looks there. A rank that waits for the others, or for the
leader, hears of a stop, too: no signal is handled within a collective, so it waits outside of it
first.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from stat import S_ISSOCK
from typing import Any

import torch
from torch import distributed

from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.peers import End, Peers
from acereason_trainer.stage import StageFailure, StopFlag, Stopped

LOOK = 0.5
"""Seconds between two looks into the store."""
LONGEST_NAP = 0.01
"""Seconds at most by which a rank notices late that the others have come."""
END = "called off"
PATIENCE = timedelta(days=7)
"""Reading a large dataset on the leader takes hours; the others wait."""
LAST_WORDS = timedelta(seconds=30)
"""For so long a rank that has failed waits for the others to hear of it. Then they find it
gone. Whoever looks for an end does so within a second."""
ASKED_AFTER = 60
"""Seconds without a word after which the kernel asks a connection's other end for a sign of life;
the kernel there gives it, whatever the rank does."""
ASKED_EVERY = 10
"""Seconds between two such questions."""
ASKED_TIMES = 6
"""Without an answer; then the other host is gone."""
LOST = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "Connection refused",
    "Connection timed out",
    "No route to host",
    "Network is unreachable",
    "Network is down",
    "Host is down",
    "timed out connecting",
    "Connect timeout",
    "Read timeout",
    "Write timeout",
    "unexpectedly closed",
    "Pair is not connected",
    "connectFullMesh failed",
)
"""What gloo says when the other end of a connection is gone, or the way there; it raises a plain
RuntimeError."""
HUNG = "Timed out waiting"
"""What it says when the others do not come within its limit."""


class Group(Peers):
    """Several ranks that meet over torch.distributed."""

    def __init__(self, environment: Mapping[str, str], stop: StopFlag | None = None) -> None:
        """Meets the others; torchrun's variables say where. Their GPU becomes the current one.

        stop: this rank's, where it can be asked to; the others hear of that.
        """
        self.rank, self.world = int(environment["RANK"]), int(environment["WORLD_SIZE"])
        self.local_world = int(environment.get("LOCAL_WORLD_SIZE", self.world))
        if torch.cuda.is_available():
            torch.cuda.set_device(int(environment["LOCAL_RANK"]))
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        store, _, _ = next(iter(distributed.rendezvous("env://", self.rank, self.world)))
        distributed.init_process_group(backend, store=store, rank=self.rank, world_size=self.world)
        self._queues = distributed.PrefixStore("queues", store)
        self._ends = distributed.PrefixStore("ends", store)
        self._looked_at = 0.0
        self._stop = stop or StopFlag()
        self._channel = distributed.new_group(backend="gloo", timeout=PATIENCE)
        _ask_for_signs_of_life()

    def gather(self, end: End) -> list[End]:
        """Everybody's, by rank."""
        self._meet(end)
        ends: list[Any] = [None] * self.world
        distributed.all_gather_object(ends, end, group=self._channel)
        return ends

    def from_leader(self, end: End | None) -> list[End]:
        """The leader's alone."""
        self._meet(end)
        told = [end]
        distributed.broadcast_object_list(told, src=0, group=self._channel)
        return [e for e in told if e is not None]

    def _meet(self, end: End | None) -> None:
        """Until all ranks are here; those that still work are told of a stop that comes."""
        failed = end is not None and end.failure is not None
        options = distributed.BarrierOptions()
        options.device = torch.device("cpu")
        # The barrier's own limit: one that is given up and goes on keeps the process from ending.
        options.timeout = LAST_WORDS if failed else PATIENCE
        there = self._channel.barrier(options)
        nap, told = LONGEST_NAP / 1000, False
        while not there.is_completed():
            if self._stop.is_set and not told:
                self.call_off()
                told = True
            time.sleep(nap)
            nap = min(2 * nap, LONGEST_NAP)
        there.wait()

    def check(self) -> None:
        """A look into the store, now and then."""
        if time.monotonic() - self._looked_at < LOOK:
            return
        self._looked_at = time.monotonic()
        if self._ends.check([END]):
            raise Stopped

    def call_off(self) -> None:
        """A note in the store."""
        self._ends.set(END, "")

    def queue(self, name: str) -> Callable[[], int]:
        """A counter of the store at which the ranks met."""
        return lambda: self._queues.add(name, 1) - 1


def _ask_for_signs_of_life() -> None:
    """On all TCP connections of this process: a host without power closes none of its own, and
    neither gloo nor the store would ever hear of it. (TCP_USER_TIMEOUT would also end a connection
    to a rank that lives and does not read for long.)"""
    for opened in Path("/proc/self/fd").iterdir():
        descriptor = int(opened.name)
        with suppress(OSError):  # closed meanwhile
            if not S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
            with socket.socket(fileno=os.dup(descriptor)) as same:
                if same.family == socket.AF_UNIX or same.type != socket.SOCK_STREAM:
                    continue
                same.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, ASKED_AFTER)
                same.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, ASKED_EVERY)
                same.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, ASKED_TIMES)
                same.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


@contextmanager
def meet(environment: Mapping[str, str], stop: StopFlag | None = None) -> Iterator[Peers]:
    """The other ranks of this attempt, as torchrun's variables tell.

    Raises StageFailure where one of them is lost or does not come.
    """
    try:
        yield Group(environment, stop)
        # Not after a failure: it could wait for peers, who see closed connections anyway.
        distributed.destroy_process_group()
    except RuntimeError as e:
        if HUNG in str(e):
            sentence = f"another rank did not come to a collective: {str(e).splitlines()[0]}"
            raise StageFailure(ExitCode.TEMPORARY, "HungCollective", sentence) from e
        said = [words for words in LOST if words in str(e)]
        if not said and not isinstance(e, distributed.DistError):
            raise
        why = said[0] if said else str(e).splitlines()[0]
        raise StageFailure(ExitCode.TEMPORARY, "LostPeer", f"another rank is gone: {why}") from e
