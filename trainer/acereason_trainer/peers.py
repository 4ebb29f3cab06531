"""The ranks of an attempt, seen from one of them.

Every rank runs the same loop over the same batches; what a rank has to itself is a share of the
work. So whatever could differ (a signal that came, a clock, a file that is not there yet) is
settled between them here: `together` for what each does for itself, `led` for what one does for
all. Either gives all ranks the same result, or ends all of them, so that nobody is left waiting in
a collective that the others will never enter. Whoever has long work to do there looks with `check`
whether the others have ended meanwhile. Settling never nests: who ends before the inner one settles
the outer one, and the others wait in the inner.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
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
    _settles: bool = False
    """Whether work goes on whose end is to be settled."""

    @property
    def leads(self) -> bool:
        """Whether this rank does what is done once: curves, states, publishing."""
        return self.rank == 0

    def together(self, work: Callable[[], _T]) -> list[_T]:
        """What each rank's work gave, by rank. All ranks must call.

        Where one of them raises Stopped or StageFailure, all raise it (a failure before a stop);
        where one dies of anything else, the others raise a temporary failure. A rank that fails
        itself raises its own failure, whatever the others do.
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

    def check(self) -> None:
        """Raise Stopped where another rank has ended badly, or was asked to stop, in what all do:
        its end will be everybody's. For long work within `together`; needs no other rank to
        call."""

    def call_off(self) -> None:
        """Have `check` raise on every rank, from now on: no such end is gone on from."""

    def queue(self, name: str) -> Callable[[], int]:
        """Gives the next number from 0, and each number to one rank alone. Needs no other rank to
        call; a name stands for one queue."""
        return count().__next__

    def _heard(self) -> Any:
        self._require_outermost()
        return _value_of(self.from_leader(None))[0]

    def _settled(self, work: Callable[[], _T], exchange: Callable[[End], list[End]]) -> list[_T]:
        self._require_outermost()
        self._settles = True
        try:
            end = End(work())
        except Stopped:
            end = End(stopped=True)
            self.call_off()
        except BaseException as e:
            # Who is gone cannot be told, nor who does not listen: what ended this rank counts.
            with suppress(RuntimeError):
                self.call_off()
                exchange(End(failure=self._told_of(e)))
            raise
        finally:
            self._settles = False
        return _value_of(exchange(end))

    def _require_outermost(self) -> None:
        if self._settles:
            raise RuntimeError(
                "this settles something between ranks within what they settle already: where one "
                "fails before it, the others would wait here for ever"
            )

    def _told_of(self, error: BaseException) -> tuple[ExitCode, str, str]:
        """What the other ranks end with."""
        if isinstance(error, StageFailure):
            return error.code, error.reason, error.message
        said = f"rank {self.rank} ended with {type(error).__name__}: {error}"
        return ExitCode.TEMPORARY, "LostPeer", f"{said}; its own log says more"

    def gather(self, end: End) -> list[End]:
        """Everybody's end, by rank. All ranks must call. Raises RuntimeError where another one is
        gone, or where this rank has failed and the others do not come to hear it."""
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
