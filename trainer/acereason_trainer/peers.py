"""The ranks of an attempt, seen from one of them.

Every rank runs the same loop over the same batches; what a rank has to itself is a share of the
work. So whatever could differ (a signal that came, a clock, a file that is not there yet) is
settled between them here: `together` for what each does for itself, `led` for what one does for
all. Either gives all ranks the same result, or ends all of them in the same way, so that nobody is
left waiting in a collective that the others will never enter.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, TypeVar

from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.stage import StageFailure, Stopped

_T = TypeVar("_T")


@dataclass(frozen=True)
class End:
    """How a rank's work ended, in a form that travels."""

    value: Any = None
    stopped: bool = False
    failure: tuple[ExitCode, str, str] | None = None


class Peers:
    """One rank alone, which is all of them."""

    rank: int = 0
    world: int = 1
    local_world: int = 1
    """Ranks on this machine."""

    @property
    def leads(self) -> bool:
        """Whether this rank does what is done once: curves, states, publishing."""
        return self.rank == 0

    def together(self, work: Callable[[], _T]) -> list[_T]:
        """What each rank's work gave, by rank. All ranks must call.

        Where one of them raises Stopped or StageFailure, all raise it (a failure before a stop);
        where one dies of anything else, the others raise a temporary failure.
        """
        return self._settled(work, self.gather)

    def kept(self, work: Callable[[], _T]) -> _T:
        """What this rank's own work gave, where that is nothing to tell; ends are shared as those
        of `together` are. All ranks must call."""
        own: list[_T] = []
        self.together(lambda: own.append(work()))
        return own[0]

    def led(self, work: Callable[[], _T]) -> _T:
        """What the leader's work gave, on every rank. All ranks must call; ends are shared."""
        return self._settled(work, self.from_leader)[0] if self.leads else self._heard()

    def stream(self, items: Callable[[], Iterator[_T]]) -> Iterator[_T]:
        """The leader's items, one by one, on every rank."""
        source = items() if self.leads else iter(())
        while item := self.led(lambda: list(islice(source, 1))):
            yield item[0]

    def queue(self, name: str) -> Callable[[], int]:
        """Gives the next number from 0, and each number to one rank alone. Needs no other rank to
        call; a name stands for one queue."""
        return count().__next__

    def _heard(self) -> Any:
        return _value_of(self.from_leader(None))[0]

    def _settled(self, work: Callable[[], _T], exchange: Callable[[End], list[End]]) -> list[_T]:
        try:
            end = End(work())
        except Stopped:
            end = End(stopped=True)
        except StageFailure as e:
            end = End(failure=(e.code, e.reason, e.message))
        except BaseException as e:
            lost = f"rank {self.rank} ended with {type(e).__name__}: {e}; its own log says more"
            exchange(End(failure=(ExitCode.TEMPORARY, "LostPeer", lost)))
            raise
        return _value_of(exchange(end))

    def gather(self, end: End) -> list[End]:
        """Everybody's end, by rank. All ranks must call."""
        return [end]

    def from_leader(self, end: End | None) -> list[End]:
        """The leader's end alone; the others give None. All ranks must call."""
        assert end is not None
        return [end]


ALONE = Peers()


def _value_of(ends: list[End]) -> list[Any]:
    failures = [end.failure for end in ends if end.failure is not None]
    if failures:
        raise StageFailure(*failures[0])
    if any(end.stopped for end in ends):
        raise Stopped
    return [end.value for end in ends]
