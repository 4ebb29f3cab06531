"""A bounded queue of jobs before workers of one kind.

Everything waits here and not in the workers' own queue, so that what nobody waits for any more
(a trainer that went away) is dropped before it costs anything. To wait is no failure: a job's
deadline begins when it is handed over.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from acereason_trainer.rewards.jobs import Job, Setup
from acereason_trainer.rewards.protocol import Grade, Verdict
from acereason_trainer.verifier.meters import KindMeter

AHEAD = 2
"""Jobs per worker that are handed over: one runs, one is there when it ends."""
_RATE_WINDOW, _RATE_JOBS = 30.0, 4096
_RETRY_LEAST, _RETRY_MOST = 1, 60
_TOO_LATE = Grade(Verdict.INFRA_ERROR, None, 0.0, "not graded within its deadline")


class Full(Exception):
    """There is no room for the jobs."""

    def __init__(self, waiting: int, retry_after: int) -> None:
        super().__init__(
            f"{waiting} jobs wait already; ask again in about {retry_after} s, or with fewer"
        )
        self.retry_after = retry_after
        """Whole seconds after which there should be room."""


class TooMany(Exception):
    """The jobs would not even fit into an empty queue."""


class Graders(Protocol):
    """Does one job."""

    async def grade(self, setup: Setup, job: Job) -> Grade:
        """Never raises for what is wrong with a worker: that is an infrastructure error."""
        ...


@dataclass(eq=False)
class Ticket:
    """Jobs of one request."""

    setup: Setup
    deadline_seconds: float
    """Of each job, from its hand-over on."""
    answers: "asyncio.Queue[tuple[str, Grade] | None]" = field(default_factory=asyncio.Queue)
    """(id, grade) as they come, also after the deadline of their own; None: no more will."""
    wanted: bool = True


class Desk:
    """Belongs to one event loop, whose clock is its own."""

    def __init__(self, graders: Graders, *, capacity: int, slots: int, meter: KindMeter) -> None:
        """`capacity`: jobs that may wait. `slots`: jobs handed to the graders at once."""
        self._graders = graders
        self._capacity = capacity
        self._slots = slots
        self._meter = meter
        self._waiting: deque[tuple[Ticket, str, Job, float]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._tickets: set[Ticket] = set()
        self._finished: deque[float] = deque(maxlen=_RATE_JOBS)

    @property
    def waiting(self) -> int:
        """Jobs that wait, those that nobody wants any more among them."""
        return len(self._waiting)

    @property
    def setups(self) -> set[Setup]:
        """What is needed for the jobs that were accepted."""
        return {ticket.setup for ticket in self._tickets}

    @property
    def running(self) -> int:
        """Jobs that were handed over."""
        return len(self._running)

    def take(
        self, setup: Setup, jobs: Sequence[tuple[str, Job]], deadline_seconds: float
    ) -> Ticket:
        """Accept jobs (id, job), all or none. Raises Full or TooMany."""
        if len(jobs) > self._capacity:
            raise TooMany(f"{len(jobs)} jobs in one request; at most {self._capacity} fit")
        self._sweep_if_full(len(jobs))
        if len(self._waiting) + len(jobs) > self._capacity:
            raise Full(len(self._waiting), self._retry_after())
        ticket, now = Ticket(setup, deadline_seconds), _now()
        self._tickets.add(ticket)
        self._waiting.extend((ticket, name, job, now) for name, job in jobs)
        self._fill()
        return ticket

    def withdraw(self, ticket: Ticket) -> None:
        """Nobody waits for it any more: what has not begun never will."""
        ticket.wanted = False
        self._tickets.discard(ticket)

    async def idle(self) -> None:
        """Until there is nothing to do."""
        self._fill()
        while self._running:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)

    def abandon(self) -> None:
        """Drop all jobs; every ticket is told that there will be no more answers."""
        self._waiting.clear()
        for task in self._running:
            task.cancel()
        for ticket in self._tickets:
            ticket.answers.put_nowait(None)

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self._slots:
            ticket, name, job, since = self._waiting.popleft()
            if not ticket.wanted:
                continue
            self._meter.waited(_now() - since)
            task = asyncio.ensure_future(self._grade(ticket, name, job))
            self._running.add(task)
            task.add_done_callback(self._ended)

    async def _grade(self, ticket: Ticket, name: str, job: Job) -> None:
        began = _now()
        late = asyncio.get_running_loop().call_later(
            ticket.deadline_seconds, ticket.answers.put_nowait, (name, _TOO_LATE)
        )
        try:
            # Not given up itself: its worker is busy until it ends.
            grade = await self._graders.grade(ticket.setup, job)
        finally:
            late.cancel()
        self._meter.graded(grade.verdict, _now() - began)
        ticket.answers.put_nowait((name, grade))

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        if task.cancelled():
            return  # all of them are
        self._finished.append(_now())
        self._fill()
        task.result()

    def _sweep_if_full(self, more: int) -> None:
        if len(self._waiting) + more > self._capacity:
            self._waiting = deque(item for item in self._waiting if item[0].wanted)

    def _retry_after(self) -> int:
        """When half of what waits should be done, by the rate of the last half minute."""
        now = _now()
        while self._finished and self._finished[0] < now - _RATE_WINDOW:
            self._finished.popleft()
        if not self._finished:
            return _RETRY_MOST
        per_second = len(self._finished) / max(now - self._finished[0], 1.0)
        seconds = len(self._waiting) / 2 / per_second
        return max(_RETRY_LEAST, min(_RETRY_MOST, round(seconds)))


def _now() -> float:
    return asyncio.get_running_loop().time()
