"""The jobs that a verifier service has not answered: which are asked for next, again, or no more.

No clock and no network of its own: whoever uses it says what happened and when.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from acereason_trainer.rewards.jobs import CodeJob, Job
from acereason_trainer.rewards.protocol import Grade, Verdict

INFRA_TRIES = 2
"""An infrastructure error of the service's is believed when it says so this often."""
ACCEPTED_TRIES = 3
"""A job is given up when the service accepted it so often in requests that it did not finish: it
may be the job itself that ends the service."""
STRAGGLES = 4
"""A job is a straggler when it takes so many times as long as 95 of 100 jobs."""
SOONEST_HEDGE = 5.0
"""Seconds before which nothing is a straggler."""
UNKNOWING_HEDGE = 30.0
"""The same while too few jobs were answered to know what is long."""
_KNOWING = 20
_DURATIONS = 512
_HEDGED_SHARE = 0.05


@dataclass(eq=False)
class Asked:
    """A job and who waits for it."""

    name: str
    job: Job
    alive: float
    """When it was submitted, or until when the service said that it works on it."""
    future: "Future[Grade]" = field(default_factory=Future)
    sent: float = 0.0
    """When it was last sent while nothing else asked for it."""
    requests: int = 0
    """In how many requests it is just now."""
    hedged: bool = False
    """A second request was, or will be, sent beside the first."""
    alone: bool = False
    infra_errors: int = 0
    lost: int = 0
    """Requests that the service accepted and that ended without its answer."""

    @property
    def suspect(self) -> bool:
        """The next such request is its last."""
        return self.lost == ACCEPTED_TRIES - 1

    @property
    def straggles(self) -> bool:
        """The second request is still to be sent."""
        return self.hedged and self.requests == 1 and not self.future.done()

    @property
    def group(self) -> bytes:
        """Jobs with the same tests go together."""
        if self.alone:
            return self.name.encode()
        return self.job.digest if isinstance(self.job, CodeJob) else b""


class Outstanding:
    """Not thread-safe."""

    def __init__(self, patience: float) -> None:
        """`patience`: seconds without a sign of life after which a job is given up."""
        self._patience = patience
        self._open: dict[str, Asked] = {}
        self._waiting = _Groups()
        self._hedges = _Groups()
        self._suspects: deque[Asked] = deque()
        self._suspect_sent: Asked | None = None
        self.last_verdict = float("-inf")
        """When the service last gave one."""
        self._durations: deque[float] = deque(maxlen=_DURATIONS)

    def __len__(self) -> int:
        return len(self._open)

    def add(self, asked: Asked) -> None:
        """A new job."""
        self._open[asked.name] = asked
        self._wait(asked)

    def batch(self, most: int, now: float) -> list[Asked]:
        """The jobs of the next request: of one group, the groups in turn; hedges only where nothing
        else waits. Empty: nothing waits."""
        chosen = (
            self._waiting.take(most, lambda asked: not asked.future.done())
            or self._next_suspect()
            or self._hedges.take(most, lambda asked: asked.straggles)
        )
        for asked in chosen:
            if not asked.requests:
                asked.sent = now
            asked.requests += 1
        return chosen

    def works_on(self, batch: Sequence[Asked], until: float) -> None:
        """The service works on them, and will say so again by then."""
        for asked in batch:
            asked.alive = until

    def answered(self, name: str, grade: Grade, now: float) -> None:
        """A verdict came. Of two for one job the first counts; a name unknown is a late one."""
        asked = self._open.get(name)
        if asked is None:
            return
        if grade.verdict is Verdict.INFRA_ERROR:
            asked.infra_errors += 1
            if asked.infra_errors < INFRA_TRIES:
                return
        else:
            self.last_verdict = now
            self._durations.append(now - asked.sent)
        self._settle(asked, grade)

    def ended(self, batch: Sequence[Asked]) -> None:
        """A request is over, whatever became of it: what nobody answers now waits again."""
        for asked in batch:
            asked.requests -= 1
            if asked is self._suspect_sent:
                self._suspect_sent = None
            if not asked.future.done() and not asked.requests:
                asked.hedged = False
                self._wait(asked, first=not asked.lost)

    def lost(self, jobs: Sequence[Asked], sentence: str) -> int:
        """The service accepted a request and ended it without answers to these: one of them may
        be why, and whatever else the service had in hand is lost with it.

        So from now on each goes alone and behind the others; before its last try it waits until no
        other one like it is out. Returns how many are left without a verdict.
        """
        given_up = 0
        for asked in jobs:
            if asked.future.done():
                continue
            asked.lost += 1
            asked.alone = True
            if asked.lost >= ACCEPTED_TRIES:
                given_up += 1
                self._settle(asked, Grade(Verdict.INFRA_ERROR, None, 0.0, sentence))
        return given_up

    def refused(self, batch: Sequence[Asked], sentence: str) -> None:
        """The service will not take a request: its jobs go alone, and one that is alone is left
        without a verdict."""
        for asked in batch:
            if asked.future.done():
                continue
            if len(batch) > 1:
                asked.alone = True
            else:
                self._settle(asked, Grade(Verdict.INFRA_ERROR, None, 0.0, sentence))

    def give_up(self, now: float, sentence: str) -> int:
        """Leave those without a verdict for which there was no sign of life for too long.

        A verdict for any job is a sign of life for all: the others wait for their turn. Returns
        how many.
        """
        hopeless = [
            asked
            for asked in self._open.values()
            if now - max(asked.alive, self.last_verdict) > self._patience
        ]
        for asked in hopeless:
            self._settle(asked, Grade(Verdict.INFRA_ERROR, None, 0.0, sentence))
        return len(hopeless)

    def end(self, grade: Grade) -> None:
        """No more is asked: all get this grade."""
        for asked in list(self._open.values()):
            self._settle(asked, grade)

    def fail(self, error: BaseException) -> None:
        """No more is asked: the error is raised where a verdict is waited for."""
        for asked in list(self._open.values()):
            del self._open[asked.name]
            asked.future.set_exception(error)

    def hedge(self, now: float) -> int:
        """Have stragglers asked for a second time, each once, few at a time; returns how many."""
        long = self._long()
        flying = [asked for asked in self._open.values() if asked.requests]
        room = max(1, int(_HEDGED_SHARE * len(flying)))
        room -= sum(asked.hedged for asked in self._open.values())
        late = [a for a in flying if not (a.hedged or a.suspect) and now - a.sent > long]
        for asked in late[: max(0, room)]:
            asked.hedged = True
            self._hedges.add(asked)
        return len(late[: max(0, room)])

    def _long(self) -> float:
        if len(self._durations) < _KNOWING:
            return UNKNOWING_HEDGE
        ordered = sorted(self._durations)
        return max(SOONEST_HEDGE, STRAGGLES * ordered[int(0.95 * len(ordered))])

    def _next_suspect(self) -> list[Asked]:
        while self._suspects and self._suspect_sent is None:
            asked = self._suspects.popleft()
            if not asked.future.done():
                self._suspect_sent = asked
                return [asked]
        return []

    def _wait(self, asked: Asked, first: bool = False) -> None:
        if asked.suspect:
            self._suspects.append(asked)
            return
        self._waiting.add(asked, first=first)

    def _settle(self, asked: Asked, grade: Grade) -> None:
        del self._open[asked.name]
        asked.future.set_result(grade)


class _Groups:
    """Jobs that wait, in groups of which each has its turn."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[bytes, deque[Asked]] = OrderedDict()

    def add(self, asked: Asked, *, first: bool = False) -> None:
        jobs = self._jobs.setdefault(asked.group, deque())
        if first:
            jobs.appendleft(asked)
            self._jobs.move_to_end(asked.group, last=False)
        else:
            jobs.append(asked)

    def take(self, most: int, wanted: Callable[[Asked], bool]) -> list[Asked]:
        """Jobs of the next group that has any that are still wanted."""
        chosen: list[Asked] = []
        while self._jobs and not chosen:
            group, jobs = self._jobs.popitem(last=False)
            while jobs and len(chosen) < most:
                asked = jobs.popleft()
                if wanted(asked):
                    chosen.append(asked)
            if jobs:
                self._jobs[group] = jobs
        return chosen
