"""Two ranks of an attempt as threads of this process, where real ones cost 10 s of importing torch.

How they settle what differs is `Peers`' own. Only the way between them is made up here, and
tests/trainer/test_ends_of_ranks.py holds it to what ranks in processes come to.
"""

from collections.abc import Callable
from concurrent.futures import Future
from itertools import count
from threading import Barrier, Event, Thread
from typing import TypeVar

from acereason_trainer.peers import End, Peers
from acereason_trainer.stage import Stopped

from tests.waiting import PATIENCE

_T = TypeVar("_T")


class OfTwo(Peers):
    """One of two ranks; both are made from the same way between them."""

    world = 2

    def __init__(self, rank: int, between: "Between") -> None:
        self.rank = rank
        self._between = between

    def gather(self, end: End) -> list[End]:
        return self._between.gather(self.rank, end)

    def from_leader(self, end: End | None) -> list[End]:
        return self.gather(end or End())[:1]

    def check(self) -> None:
        if self._between.called_off.is_set():
            raise Stopped

    def call_off(self) -> None:
        self._between.called_off.set()

    def queue(self, name: str) -> Callable[[], int]:
        return self._between.queues.setdefault(name, count()).__next__


class Between:
    """Where two threads meet."""

    def __init__(self) -> None:
        self.called_off = Event()
        self.queues: dict[str, count[int]] = {}
        self._ends = [End(), End()]
        self._meeting = Barrier(2, timeout=PATIENCE)

    def gather(self, rank: int, end: End) -> list[End]:
        self._ends[rank] = end
        self._meeting.wait()
        ends = list(self._ends)
        self._meeting.wait()
        return ends


def on_two_ranks(work: Callable[[Peers], _T]) -> list[_T]:
    """What `work` returns on each rank, by rank. Raises what it raises, or TimeoutError where a
    rank does not end."""
    between, found = Between(), [Future[_T](), Future[_T]()]

    def carry_out(rank: int) -> None:
        try:
            found[rank].set_result(work(OfTwo(rank, between)))
        except BaseException as e:  # noqa: BLE001 - raised where it is asked for
            found[rank].set_exception(e)

    for rank in range(2):
        # A daemon: one that hangs fails its test, and does not keep the process from ending.
        Thread(target=carry_out, args=(rank,), daemon=True).start()
    return [of_rank.result(PATIENCE) for of_rank in found]
