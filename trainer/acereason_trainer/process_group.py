"""How the ranks of an attempt meet and talk, and how they notice that one is gone.

What `Peers` settle goes over a channel of its own (gloo, over TCP), never behind what the GPUs are
doing. A rank that dies closes its connections, which its peers see at once; one that hangs is the
launcher's watchdog's. So waiting there has no limit that matters. The collectives of training have
torch's own (10 minutes for NCCL, 30 for gloo): within a step nobody waits for as long.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.peers import End, Peers
from acereason_trainer.stage import StageFailure

PATIENCE = timedelta(days=7)
"""Reading a large dataset on the leader takes hours; the others wait."""
LOST = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "Connection refused",
)
"""What gloo says when the other end of a connection is gone; it raises a plain RuntimeError."""
HUNG = "Timed out waiting"
"""What it says when the others do not come within its limit."""


class Group(Peers):
    """Several ranks that meet over torch.distributed."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Meets the others; torchrun's variables say where. Their GPU becomes the current one."""
        self.rank, self.world = int(environment["RANK"]), int(environment["WORLD_SIZE"])
        self.local_world = int(environment.get("LOCAL_WORLD_SIZE", self.world))
        if torch.cuda.is_available():
            torch.cuda.set_device(int(environment["LOCAL_RANK"]))
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        store, _, _ = next(iter(distributed.rendezvous("env://", self.rank, self.world)))
        distributed.init_process_group(backend, store=store, rank=self.rank, world_size=self.world)
        self._queues = distributed.PrefixStore("queues", store)
        self._channel = distributed.new_group(backend="gloo", timeout=PATIENCE)

    def gather(self, end: End) -> list[End]:
        """Everybody's, by rank."""
        ends: list[Any] = [None] * self.world
        distributed.all_gather_object(ends, end, group=self._channel)
        return ends

    def queue(self, name: str) -> Callable[[], int]:
        """A counter of the store at which the ranks met."""
        return lambda: self._queues.add(name, 1) - 1

    def from_leader(self, end: End | None) -> list[End]:
        """The leader's alone."""
        told = [end]
        distributed.broadcast_object_list(told, src=0, group=self._channel)
        return [e for e in told if e is not None]


@contextmanager
def meet(environment: Mapping[str, str]) -> Iterator[Peers]:
    """The other ranks of this attempt, as torchrun's variables tell.

    Raises StageFailure where one of them is lost or does not come.
    """
    try:
        yield Group(environment)
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
