"""Worker processes that check answers at once, each watched by one thread that can kill it.

Threads are no boundary for code that does not return, so a deadline is kept by killing the process
(SIGKILL) and forking another (nursery.py). A worker that is lost is replaced and the job is tried
once more; a job that loses two workers gets an infrastructure error, which masks the sample, unless
the way in which they died blames the answer (`blame`).

The deadline of a math answer is CPU time of its worker, seen from outside: a busy machine changes
no verdict, and on an idle one it is wall-clock time.
"""

import logging
import queue
import signal
import threading
import time
from concurrent.futures import Future
from typing import Any

from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.processes import AWAKE, cpu_seconds, stat_words
from acereason_trainer.rewards.jobs import (
    Job,
    Ready,
    Refused,
    RewardRaised,
    Setup,
    WantsTests,
    in_brief,
)
from acereason_trainer.rewards.nursery import Life, Nursery
from acereason_trainer.rewards.protocol import Grade, Verdict
from acereason_trainer.stage import StageFailure

_log = logging.getLogger(__name__)

_START_SECONDS = 120.0
_MATH_ANSWERS = 200
"""Answers of one math worker's life: what sympy remembers of them ends with it, and another one is
forked in milliseconds. (One that runs programs remembers nothing, and begins more slowly.)"""
_LOOK_AGAIN, _LOOK_EVERY = 0.005, 0.25
"""Seconds of waiting at least, where a worker has nearly used its CPU time, and at most."""


class WorkerLost(Exception):
    """A worker could not be started, ended or did not answer.

    `code` is its exit code, where it has one: negative for a signal.
    """

    def __init__(self, sentence: str, code: int | None = None) -> None:
        super().__init__(sentence)
        self.code = code


class OutOfTime(WorkerLost):
    """A worker was killed because the answer took more CPU time than it may."""


class Worker:
    """One checking process at a time, started when it is first needed."""

    def __init__(self, setup: Setup, seconds: float) -> None:
        self._setup = setup
        self._seconds = seconds
        self._cpu_limit = setup.verifier.math_seconds if setup.kind == "math" else None
        self._nursery: Nursery | None = None
        self._life: Life | None = None
        self._answered = 0
        self.notes: tuple[str, ...] = ()
        self.times_lost = 0

    def start(self) -> None:
        """Start the process if it does not run.

        Raises WorkerLost where that cannot be done, StageFailure for settings that it refuses.
        """
        if self._life is not None:
            return
        try:
            self._nursery = self._nursery or Nursery(self._setup)
            self._life = self._nursery.begin()
        except (EOFError, OSError) as e:
            self.stop()
            raise WorkerLost(f"a checking process cannot be started ({e})") from e
        answer = self._exchange(None, _START_SECONDS)
        if isinstance(answer, Refused):
            self.stop()
            raise StageFailure(ExitCode.BAD_CONFIGURATION, "BadReward", answer.sentence)
        assert isinstance(answer, Ready)
        self.notes = answer.notes

    def check(self, job: Job) -> Grade:
        """Have one job done. Raises WorkerLost, or StageFailure for a broken custom reward."""
        if self._setup.kind == "math" and self._answered >= _MATH_ANSWERS:
            self._end_life()
        self.start()
        self._answered += 1
        answer = self._exchange(in_brief(job), self._seconds, self._cpu_limit)
        if isinstance(answer, WantsTests):
            answer = self._exchange(job, self._seconds)
        if isinstance(answer, RewardRaised):
            raise StageFailure(ExitCode.BAD_CONFIGURATION, "RewardRaised", answer.sentence)
        assert isinstance(answer, Grade)
        return answer

    def kill(self) -> None:
        """End the process; its own thread notices, and reaps it. Safe from any thread."""
        if (nursery := self._nursery) is not None:
            nursery.kill()

    def stop(self) -> None:
        """End the process, if it runs, and what it would be started from again."""
        self._end_life()
        if self._nursery is not None:
            self._nursery.close()
            self._nursery = None

    def _end_life(self) -> int | None:
        """End the checking process; its exit code."""
        life, self._life = self._life, None
        self._answered = 0
        if life is None or self._nursery is None:
            return None
        life.connection.close()
        try:
            return self._nursery.end()
        except (EOFError, OSError):
            nursery, self._nursery = self._nursery, None
            return nursery.close()

    def _exchange(self, message: object, seconds: float, cpu_limit: float | None = None) -> object:
        """The answer to a message; to None, what is said unasked."""
        assert self._life is not None
        lost: WorkerLost
        try:
            stop_at = None if cpu_limit is None else cpu_seconds(self._life.pid) + cpu_limit
            if message is not None:
                self._life.connection.send(message)
            if _answers(self._life, seconds, stop_at, cpu_limit):
                return self._life.connection.recv()
            if stop_at is not None and cpu_seconds(self._life.pid) >= stop_at:
                lost = OutOfTime(f"took more than {cpu_limit:g} s of CPU time")
            else:
                lost = WorkerLost("the checking process hung")
            self._end_life()
        except (EOFError, OSError):
            code = self._end_life()
            lost = WorkerLost(f"the checking process ended with {code}", code)
        self.times_lost += 1
        raise lost


def _answers(life: Life, seconds: float, stop_at: float | None, idle_limit: float | None) -> bool:
    """Wait for an answer; False where the process reached `stop_at` on its CPU clock, did nothing
    for `idle_limit` seconds, or took `seconds` in all."""
    if stop_at is None or idle_limit is None:
        return life.connection.poll(seconds)
    now = time.monotonic()
    end, idle = now + seconds, 0.0
    while True:
        used = cpu_seconds(life.pid)
        left = min(stop_at - used, end - now, idle_limit - idle)
        if left <= 0:
            return False
        # One thread uses no more CPU time than passes by: rarely a second look.
        if life.connection.poll(min(max(left, _LOOK_AGAIN), _LOOK_EVERY)):
            return True
        since, now = now, time.monotonic()
        # One that is ready to run and gets no processor is not idle.
        if cpu_seconds(life.pid) == used and stat_words(life.pid)[0] not in AWAKE:
            idle += now - since


class WorkerPool:
    """Workers behind one queue of jobs."""

    def __init__(self, setup: Setup, seconds: float) -> None:
        """`seconds`: wall-clock limit of one job; far beyond what its own limits allow."""
        self._workers = [Worker(setup, seconds) for _ in range(setup.verifier.workers)]
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Job | None] | None] = queue.SimpleQueue()
        self._said: set[str] = set()
        self._closed = threading.Event()
        self._threads = [
            threading.Thread(target=self._serve, args=(worker,), daemon=True, name="verifier")
            for worker in self._workers
        ]

    @property
    def workers_lost(self) -> int:
        """How often a worker ended or had to be killed while it checked something."""
        return sum(worker.times_lost for worker in self._workers)

    def open(self) -> None:
        """Take jobs from here on; one worker starts now, so that wrong settings are told at once.

        Raises StageFailure where it refuses or cannot be started.
        """
        first: Future[None] = Future()
        self._jobs.put((first, None))
        self._threads[0].start()
        first.result()
        for thread in self._threads[1:]:
            thread.start()

    def submit(self, job: Job) -> "Future[Grade]":
        """Have a job done by the next free worker."""
        future: Future[Grade] = Future()
        self._jobs.put((future, job))
        return future

    def close(self) -> None:
        """Kill all workers; jobs that are not done get an infrastructure error."""
        self._closed.set()
        for _ in self._threads:
            self._jobs.put(None)
        for worker, thread in zip(self._workers, self._threads, strict=True):
            while thread.is_alive():
                worker.kill()
                thread.join(0.05)

    def _serve(self, worker: Worker) -> None:
        """Do jobs until there is a None.

        The thread starts its worker itself: the kernel ends a worker with the thread that
        started it.
        """
        while item := self._jobs.get():
            future, job = item
            try:
                if job is None:
                    self._start(worker)
                grade = None if job is None else self._graded(worker, job)
            except StageFailure as e:
                future.set_exception(e)
            except Exception as e:  # noqa: BLE001 - raised where the future is waited for
                future.set_exception(e)
                worker.stop()
            else:
                future.set_result(grade)
            self._say(worker.notes)
        worker.stop()

    def _start(self, worker: Worker) -> None:
        try:
            worker.start()
        except WorkerLost as e:
            raise StageFailure(
                ExitCode.TEMPORARY, "VerifierLost", f"no verifier could be started: {e}"
            ) from e

    def _graded(self, worker: Worker, job: Job) -> Grade:
        lost = WorkerLost("the checker was closed")
        for _ in range(2):
            if self._closed.is_set():
                break
            try:
                return worker.check(job)
            except OutOfTime as e:
                return Grade(Verdict.TIMEOUT, 0.0, 0.0, str(e))
            except WorkerLost as e:
                lost = e
        verdict = blame(lost.code)
        return Grade(verdict, None if verdict is Verdict.INFRA_ERROR else 0.0, 0.0, str(lost))

    def _say(self, notes: tuple[str, ...]) -> None:
        for note in notes:
            if note not in self._said:
                self._said.add(note)
                _log.warning(note)


def blame(code: int | None) -> Verdict:
    """What a worker's death says about the answer that it was checking.

    A crash of the C library twice in a row is the answer's work. Anything else (the machine's
    memory killer, no answer at all) says nothing.
    """
    if code in (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS):
        return Verdict.RUNTIME_ERROR
    return Verdict.INFRA_ERROR
