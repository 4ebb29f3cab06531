"""The verifier service in the place of worker processes: the same jobs, the same futures.

One thread runs one event loop, and all of this happens in it; `submit` only hands a job over. A
bounded number of requests is out at once, each for a batch of what waits (outstanding.py). So a job
that comes alone goes out at once, and batches form by themselves where the service is slower than
the model.

Nothing that happens to a request is a verdict. What was not answered is asked for again: after a
pause that grows, or as long as the service says. A job that takes unusually long is asked for once
more beside the first time (a hung worker, a stalled connection). A job gets an infrastructure
error, which masks the sample, only where the service has shown no life for `patience_seconds`, or
has accepted the job several times and never answered (it may be what ends the service).
"""

import asyncio
import importlib.metadata
import itertools
import logging
import random
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from http import HTTPStatus

import aiohttp
from pydantic import ValidationError

from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.rewards.jobs import CodeJob, Job, Setup
from acereason_trainer.rewards.outstanding import ACCEPTED_TRIES, Asked, Outstanding
from acereason_trainer.rewards.protocol import Grade, Verdict
from acereason_trainer.rewards.wire import (
    ANSWERS_TYPE,
    HEARTBEAT_SECONDS,
    MOST_SECONDS,
    SERVICE,
    About,
    GradeLine,
    Trouble,
    write_request,
)
from acereason_trainer.stage import StageFailure

_log = logging.getLogger(__name__)

_REQUESTS = 64
"""Requests at once."""
_BATCH = 16
"""Jobs of one request: the papers' responses to one problem."""
_CONNECT_SECONDS = 10.0
_SILENT_SECONDS = 3 * HEARTBEAT_SECONDS
"""A stream without even a heartbeat for so long is dead."""
_SLACK_SECONDS = _SILENT_SECONDS
"""Beyond the deadline of a job that the service was told: when no verdict at all came for as long,
a request is ended here."""
_PAUSE, _LONGEST_PAUSE = 0.2, 10.0
_LOOK_EVERY = 0.5
_UPLOADS = 3
"""A service that forgets tests faster than they are used is as good as busy."""

_LINE = 1 << 20
"""Bytes of the longest answer."""
_JSON = {"Content-Type": "application/json"}
_NEVER = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
_PASSING = (
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
"""What a proxy says where the service is on its way."""
_CLOSED = Grade(Verdict.INFRA_ERROR, None, 0.0, "the checker was closed")
_FAILURES = (aiohttp.ClientError, TimeoutError, OSError)


class _Busy(Exception):
    """The service takes nothing on just now."""

    def __init__(self, sentence: str, seconds: float | None = None) -> None:
        super().__init__(sentence)
        self.seconds = seconds
        """When to ask again, if it says so."""


class _Refused(Exception):
    """The service will never take this request."""


class RemotePool:
    """Stands where a WorkerPool stands."""

    def __init__(self, setup: Setup, url: str, seconds: float) -> None:
        """`seconds`: wall-clock limit of one job once a worker has it.

        The service is told this and `patience_seconds` as the deadline of a job that it has begun:
        a job waits as long for its turn as verdicts come.
        """
        self._setup = setup
        self._url = url.rstrip("/")
        self._patience = setup.verifier.patience_seconds
        self._deadline = min(seconds + self._patience, MOST_SECONDS)
        self._names = itertools.count(1)
        self._outstanding = Outstanding(self._patience)
        self._requests: set[asyncio.Task[None]] = set()
        self._uploads: dict[bytes, asyncio.Task[None]] = {}
        self._failures = 0
        self._trouble = ""
        self._lock = threading.Lock()
        """Held while it is decided whether the event loop still takes a job."""
        self._submitted: deque[Asked] = deque()
        self._over = False
        self._fault: Exception | None = None
        self._ready: Future[None] = Future()
        self._loop = asyncio.new_event_loop()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, daemon=True, name="verifier-client")

    def open(self) -> None:
        """Take jobs from here on.

        Raises StageFailure where somebody else answers at the address. That nobody answers is no
        failure: the service may be on its way, and jobs wait for it.
        """
        self._thread.start()
        self._ready.result()

    def submit(self, job: Job) -> "Future[Grade]":
        """Have a job done by the service. Raises the fault that ended the client, if one did."""
        asked = Asked(str(next(self._names)), job, alive=self._loop.time())
        with self._lock:
            if self._fault is not None:
                raise self._fault
            if self._over:
                asked.future.set_result(_CLOSED)
                return asked.future
            self._submitted.append(asked)
            self._loop.call_soon_threadsafe(self._take)
        return asked.future

    def close(self) -> None:
        """Stop asking; jobs without a verdict get an infrastructure error."""
        with self._lock:
            if not self._over:
                self._loop.call_soon_threadsafe(self._closed.cancel)
        self._thread.join()

    def _run(self) -> None:
        fault: Exception | None = None
        try:
            self._loop.run_until_complete(self._serve())
        except Exception as e:  # noqa: BLE001 - raised where it is waited for
            fault = e
        with self._lock:
            self._over, self._fault = True, fault
        self._loop.close()
        # What was submitted when the loop had ended already.
        for asked in self._submitted:
            self._outstanding.add(asked)
        if fault is None:
            self._outstanding.end(_CLOSED)
            return
        if not self._ready.done():
            self._ready.set_exception(fault)
        self._outstanding.fail(fault)

    async def _serve(self) -> None:
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENT_SECONDS
        )
        async with aiohttp.ClientSession(
            timeout=timeout, connector=aiohttp.TCPConnector(limit=0), read_bufsize=_LINE
        ) as self._session:
            await self._look_who_answers()
            self._ready.set_result(None)
            while not self._closed.done():
                await asyncio.wait([self._closed], timeout=_LOOK_EVERY)
                self._look_after()
            left = [*self._requests, *self._uploads.values()]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        if not self._closed.cancelled():
            self._closed.result()

    async def _look_who_answers(self) -> None:
        try:
            async with (
                asyncio.timeout(_CONNECT_SECONDS),
                self._session.get(self._url + "/v1") as response,
            ):
                status, body = response.status, await response.read()
        except _FAILURES as e:
            self._says(f"cannot be reached ({_words(e)})")
            return
        if status in _PASSING:
            self._says(f"answers with {status}")
            return
        try:
            about = About.parse_json(body)
        except ValidationError:
            about = None
        if about is None or about.service != SERVICE:
            raise StageFailure(
                ExitCode.BAD_CONFIGURATION,
                "BadVerifier",
                f"verifier.service: {self._url} answers, but not as {SERVICE} does (status "
                f"{status}); give the address of the verifier service",
            )
        if about.version != (own := importlib.metadata.version("acereason")):
            _log.warning(
                "the verifier at %s is version %s and this trainer %s: verdicts may differ; "
                "use one version",
                self._url,
                about.version,
                own,
            )

    def _take(self) -> None:
        self._outstanding.add(self._submitted.popleft())
        self._ask_on()

    def _ask_on(self) -> None:
        """Send what waits, as far as there are requests left."""
        while len(self._requests) < _REQUESTS and not self._closed.done():
            batch = self._outstanding.batch(_BATCH, self._loop.time())
            if not batch:
                return
            request = self._loop.create_task(self._ask(batch))
            self._requests.add(request)
            request.add_done_callback(self._asked)

    def _asked(self, request: "asyncio.Task[None]") -> None:
        self._requests.discard(request)
        if request.cancelled() or self._closed.done():
            return
        if (error := request.exception()) is not None:
            # A fault of our own: raised where verdicts are waited for.
            self._closed.set_exception(error)
            return
        self._ask_on()

    def _look_after(self) -> None:
        now = self._loop.time()
        sentence = f"the verifier at {self._url} gave no sign of life for {self._patience:g} s"
        if self._trouble:
            sentence += f": it {self._trouble}"
        if given_up := self._outstanding.give_up(now, sentence):
            _log.error("%s; %d answers stay without a verdict", sentence, given_up)
        if self._outstanding.hedge(now):
            self._ask_on()

    async def _ask(self, batch: Sequence[Asked]) -> None:
        """One request for a batch, and the pause after one that failed."""
        pause = 0.0
        try:
            await self._request(batch)
            self._failures, self._trouble = 0, ""
        except _Refused as e:
            self._outstanding.refused(batch, f"the verifier at {self._url} cannot check it: {e}")
        except _Busy as e:
            pause = self._pause(e.seconds)
            self._says(str(e))
        except _FAILURES as e:
            pause = self._pause(None)
            self._says(f"failed a request ({_words(e)})")
        finally:
            self._outstanding.ended(batch)
        if pause:
            await asyncio.sleep(pause)

    async def _request(self, batch: Sequence[Asked]) -> None:
        body = write_request(self._setup, [(a.name, a.job) for a in batch], self._deadline)
        for _ in range(_UPLOADS + 1):
            async with (
                asyncio.timeout(self._deadline + _SLACK_SECONDS) as ending,
                self._session.post(self._url + "/v1/grade", data=body, headers=_JSON) as response,
            ):
                if response.status == HTTPStatus.OK:
                    await self._read_answers(response, batch, ending)
                    return
                trouble = await _trouble_in(response)
                if not trouble.unknown_tests:
                    raise _refusal(response, trouble)
            await self._upload(batch[0].job)
        raise _Busy("forgets tests before they are used; raise its --tests-mib")

    async def _read_answers(
        self, response: aiohttp.ClientResponse, batch: Sequence[Asked], ending: asyncio.Timeout
    ) -> None:
        if response.content_type != ANSWERS_TYPE:
            # A proxy's page, say: nobody has accepted anything.
            raise _Busy(f"answers 200 with {response.content_type}, not as {SERVICE} does")
        missing = {asked.name: asked for asked in batch}
        try:
            began = self._loop.time()
            self._outstanding.works_on(batch, began + HEARTBEAT_SECONDS)
            async for line in response.content:
                now = self._loop.time()
                self._outstanding.works_on(batch, now + HEARTBEAT_SECONDS)
                if line.strip():
                    answer = _grade_line(line)
                    missing.pop(answer.id, None)
                    self._outstanding.answered(answer.id, answer.grade(), now)
                since_verdict = now - max(began, self._outstanding.last_verdict)
                left = self._deadline + _SLACK_SECONDS - since_verdict
                ending.reschedule(self._loop.time() + left)
        finally:
            self._lost(list(missing.values()))
        if missing:
            raise _Busy(f"ended a request without {len(missing)} of its {len(batch)} answers")

    def _lost(self, jobs: Sequence[Asked]) -> None:
        sentence = (
            f"the verifier at {self._url} accepted it {ACCEPTED_TRIES} times and never answered"
        )
        if given_up := self._outstanding.lost(jobs, sentence):
            _log.error("%s; %d answers stay without a verdict", sentence, given_up)

    async def _upload(self, job: Job) -> None:
        """Send a job's tests; requests that need the same ones at once wait for one upload."""
        assert isinstance(job, CodeJob) and job.tests is not None
        upload = self._uploads.get(job.digest)
        if upload is None:
            upload = self._loop.create_task(self._put(job.digest, job.tests))
            self._uploads[job.digest] = upload
            upload.add_done_callback(lambda _: self._uploads.pop(job.digest))
        await asyncio.shield(upload)

    async def _put(self, digest: bytes, content: bytes) -> None:
        address = f"{self._url}/v1/tests/{digest.hex()}"
        async with (
            asyncio.timeout(self._deadline + _SLACK_SECONDS),
            self._session.put(address, data=content, headers=_JSON) as response,
        ):
            if response.status != HTTPStatus.NO_CONTENT:
                raise _refusal(response, await _trouble_in(response))

    def _pause(self, asked_for: float | None) -> float:
        """Seconds until the next request: what the service asked for, or more each time, and never
        the same for two trainers."""
        if asked_for is not None:
            return asked_for * random.uniform(1.0, 1.5)
        self._failures += 1
        return random.uniform(0.5, 1.0) * min(
            _LONGEST_PAUSE, _PAUSE * 2.0 ** min(self._failures, 10)
        )

    def _says(self, trouble: str) -> None:
        if trouble != self._trouble:
            _log.warning(
                "the verifier at %s %s; asking again, for up to %g s without a sign of life",
                self._url,
                trouble,
                self._patience,
            )
        self._trouble = trouble


def _grade_line(line: bytes) -> GradeLine:
    try:
        return GradeLine.parse_json(line)
    except ValidationError as e:
        raise aiohttp.ClientPayloadError(f"{line[:80]!r} is no answer") from e


async def _trouble_in(response: aiohttp.ClientResponse) -> Trouble:
    try:
        return Trouble.parse_json(await response.read())
    except ValidationError:
        return Trouble(error=f"{response.status} {response.reason}")


def _refusal(response: aiohttp.ClientResponse, trouble: Trouble) -> Exception:
    if response.status in _NEVER:
        return _Refused(trouble.error)
    try:
        seconds = float(response.headers.get("Retry-After", ""))
    except ValueError:
        seconds = None
    return _Busy(f"answers {response.status}: {trouble.error}", seconds)


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
