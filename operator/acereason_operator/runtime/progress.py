"""Where running stages are, read from rank 0's own endpoint.

Nothing in the cluster needs credentials for the operator, and a pod can speak for itself only: the
address is that of a Pod whose owner is the Job, as the API server has it. What answers there is
the user's code, so it is asked little: seldom, few at a time, a small answer, no redirects, short
timeouts. A rank that does not answer is no error: the last known step stands, and after some such
reads in a row the run's status says so.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import aiohttp
from acereason_trainer.config.stage_file import Progress

from acereason_operator.runtime.metrics import Metrics
from acereason_operator.runtime.seen import RunKey

LARGEST = 16 * 1024
"""Bytes of an answer: a Progress has few metrics."""
SHOWN = 40
"""Bytes that are shown of an answer that is no progress."""
IN_THE_WAY = "try: let the operator reach that port; a NetworkPolicy may be in its way"
"""Where there is no answer at all."""
TIMEOUT = aiohttp.ClientTimeout(total=5.0, connect=2.0)
AT_ONCE = 32
"""Reads under way: more runs than that wait for their turn."""

FAILURES = 3
"""Reads in a row that failed before progress counts as unknown: one of them says little."""
LOADING = 600.0
"""Seconds for which a rank that never answered yet may be loading its model: it serves after."""


@dataclass(frozen=True)
class Source:
    """Rank 0 of a running Job."""

    job: str
    """uid."""
    pod: str
    """Name of its pod."""
    address: str
    """IP address of its pod."""
    port: int


@dataclass
class ProgressReader:
    """Reads the progress of the Jobs that it is told to follow."""

    every: float
    """Seconds between two reads of a Job, give or take a fifth."""
    changed: Callable[[RunKey], None]
    metrics: Metrics
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _last: dict[str, Progress] = field(default_factory=dict)
    _since: dict[str, datetime] = field(default_factory=dict)
    _unknown: dict[str, str] = field(default_factory=dict)
    _tasks: dict[Source, "asyncio.Task[None]"] = field(default_factory=dict)
    _of_run: dict[RunKey, frozenset[Source]] = field(default_factory=dict)
    _session: aiohttp.ClientSession | None = None
    _stopped: bool = False
    _turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    def last(self, job: str) -> Progress | None:
        """What rank 0 of a Job, by its uid, last said."""
        return self._last.get(job)

    def since(self, job: str) -> datetime | None:
        """When rank 0 of a Job, by its uid, was first read at its last step."""
        return self._since.get(job)

    def unknown(self, job: str) -> str | None:
        """Which pod of a Job, by its uid, does not tell its progress, and why; empty where it does,
        None where that is not certain yet: it was not asked, or may not serve yet."""
        return self._unknown.get(job, "" if job in self._last else None)

    def follow(self, run: RunKey, sources: frozenset[Source]) -> None:
        """From now on read these Jobs of a run, and no other ones of it. Once stopped, none: a
        reconcile that was under way may still ask for it."""
        if self._stopped:
            return
        before = self._of_run.pop(run, frozenset())
        if sources:
            self._of_run[run] = sources
        for source in before - sources:
            self._tasks.pop(source).cancel()
            self._unknown.pop(source.job, None)
            if source.job not in {s.job for s in sources}:
                self._last.pop(source.job, None)
                self._since.pop(source.job, None)
        for source in sources - before:
            self._tasks[source] = asyncio.create_task(self._read_for_ever(run, source))

    def go_on(self) -> None:
        """Follow what is asked for again, after a stop."""
        self._stopped = False

    async def stop(self) -> None:
        """Follow nothing any more, until `go_on`."""
        for run in list(self._of_run):
            self.follow(run, frozenset())
        self._stopped = True
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _read_for_ever(self, run: RunKey, source: Source) -> None:
        pause = random.uniform(0.0, min(self.every, 5.0))
        loop = asyncio.get_running_loop()
        began, failures = loop.time(), 0
        while True:
            await asyncio.sleep(pause)
            async with self._turn:
                trouble = await self._read(run, source)
            failures = failures + 1 if trouble else 0
            serves = source.job in self._last or loop.time() >= began + LOADING
            if failures >= FAILURES and serves:
                self._note(run, source, trouble)
            elif not trouble:
                self._note(run, source, "")
            pause = self.every * random.uniform(0.8, 1.2)

    def _note(self, run: RunKey, source: Source, trouble: str) -> None:
        """Have the run looked at when its progress becomes unknown, or known again."""
        if bool(trouble) == (source.job in self._unknown):
            return
        if trouble:
            where = f"pod {source.pod} at {source.address}:{source.port}"
            self._unknown[source.job] = f"{where}: {trouble}"
        else:
            del self._unknown[source.job]
        self.changed(run)

    async def _read(self, run: RunKey, source: Source) -> str:
        """Returns what went wrong; empty where nothing did."""
        try:
            answer = await self._ask(source)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self.metrics.progress_reads.labels("unreachable").inc()
            return f"{str(error) or 'no answer in time'}; {IN_THE_WAY}"
        except _NoProgress as no:
            self.metrics.progress_reads.labels("unreadable").inc()
            return str(no)
        try:
            said = Progress.parse_json(answer)
        except Exception:  # noqa: BLE001 whatever a pod says, the reading goes on
            self.metrics.progress_reads.labels("unreadable").inc()
            return f"it answers with something else than its progress: {answer[:SHOWN]!r}"
        self.metrics.progress_reads.labels("read").inc()
        before = self._last.get(source.job)
        self._last[source.job] = said
        if before is None or before.step != said.step or before.total != said.total:
            self._since[source.job] = self.now()
            self.changed(run)
        return ""

    async def _ask(self, source: Source) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=TIMEOUT, connector=aiohttp.TCPConnector(force_close=True)
            )
        host = f"[{source.address}]" if ":" in source.address else source.address
        url = f"http://{host}:{source.port}/progress"
        async with self._session.get(url, allow_redirects=False) as answer:
            if answer.status != 200:
                raise _NoProgress(f"it answers {answer.status} to GET /progress")
            body = bytearray()
            async for part in answer.content.iter_chunked(LARGEST):
                body += part
                if len(body) > LARGEST:
                    raise _NoProgress(f"it answers with more than {LARGEST} bytes")
            return bytes(body)


class _NoProgress(Exception):
    """An answer that is no progress: a sentence on it."""
