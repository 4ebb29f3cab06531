"""The trainer's end of an engine's process: starts it, asks it, and notices when it is gone.

Everything that is waited for has a limit, and an engine that is silent for longer is killed: its
death, however it comes, is one failure that says so and lets the attempt be tried again. Calls are
written by a thread, since a write to an engine that does not read has no limit. A stop comes first:
it is heard wherever an engine is waited for, and no death beside it is a failure. An engine whose
answer is then not waited for is good for nothing but to be closed.
"""

import contextlib
import math
import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread
from typing import Any

from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.rollout.engine_messages import (
    Answer,
    Asked,
    Call,
    Drawn,
    EngineSettings,
    Failed,
    Finished,
)
from acereason_trainer.stage import StageFailure

ENGINE = "acereason_trainer.rollout.vllm_engine"
"""Module that is the engine's process."""
LOOK = 0.5
"""Seconds between two looks at whether a stop was asked for."""
END_SECONDS = 10.0
"""Within which an engine that is told to end must have ended: a stop leaves 30 for this and a
state."""
TOO_FULL = "on startup is less than"
"""In all that vLLM says of a device whose free memory is less than `memoryShare` of it. Its other
sentences about memory are about that share itself, which is the same at every start."""
OF_A_RANK = (
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK"),
    *("MASTER_ADDR", "MASTER_PORT"),
)
"""Variables that would make an engine look for the trainer's peers."""
QUIET = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the process is one of its own already
    "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1",  # the stage has checked the context
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}
"""What an engine is told beside its settings, unless the stage's environment says otherwise."""


class EngineClient:
    """One engine in a process of its own."""

    def __init__(
        self,
        settings: EngineSettings,
        *,
        rank: int,
        gpus: Sequence[str],
        patience: float,
        check_stop: Callable[[], None],
    ) -> None:
        """Start it; returns when it is ready, and asleep.

        rank: that it belongs to, for sentences about it. gpus: those it may use, as
        CUDA_VISIBLE_DEVICES names them. patience: seconds for a start, for a call, and without a
        sign of life. check_stop: called while the engine is waited for. Raises StageFailure, or
        what check_stop raises, as all that waits here does.
        """
        self._name = f"the vLLM engine of rank {rank}"
        self._patience = patience
        self._check_stop = check_stop
        self._done: list[Drawn] = []
        self._engine, theirs = Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", ENGINE, str(theirs.fileno()), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=environment(os.environ, gpus),
        )
        theirs.close()
        self._calls: SimpleQueue[bytes | None] = SimpleQueue()
        self._writer = Thread(target=_write, args=(self._engine, self._calls), daemon=True)
        self._writer.start()
        try:
            self._ask(Call("start", (settings,), answered=True), patience)
        except BaseException:
            self.close()
            raise

    def call(self, method: str, *arguments: Any, at_most: float = math.inf) -> Any:
        """What a method of the engine's process gives. at_most: seconds, where that is less than
        its patience."""
        return self._ask(Call(method, arguments, answered=True), min(self._patience, at_most))

    def add(self, asked: Sequence[Asked]) -> None:
        """Have it draw these; `drawn` gives them as they finish."""
        if asked:
            self._send(Call("add", (asked,), answered=False))

    def drawn(self) -> tuple[Drawn, ...]:
        """The next responses that are done; waits for some."""
        while not self._done:
            message = self._receive(self._patience)
            if isinstance(message, Finished):
                self._done += message.drawn
        return self._taken()

    def done(self) -> tuple[Drawn, ...]:
        """What has come and was not taken yet, also of an engine that is gone; waits for none."""
        with contextlib.suppress(EOFError, OSError):
            while self._engine.poll():
                if isinstance(message := self._engine.recv(), Finished):
                    self._done += message.drawn
        return self._taken()

    def _taken(self) -> tuple[Drawn, ...]:
        done, self._done = tuple(self._done), []
        return done

    def close(self) -> None:
        """End it, kindly and then not."""
        with contextlib.suppress(OSError):  # of what is closed, or was by the engine
            _hang_up(self._engine)
        self._calls.put(None)
        self._writer.join()
        self._engine.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, call: Call, limit: float) -> Any:
        self._send(call)
        while not isinstance(message := self._receive(limit), Answer):
            self._done += message.drawn  # it finished before the engine read the call
        return message.value

    def _send(self, call: Call) -> None:
        self._calls.put(pickle.dumps(call))

    def _receive(self, limit: float) -> Answer | Finished:
        until, gone = time.monotonic() + limit, False
        self._check_stop()
        while not self._readable():
            self._check_stop()
            if gone:  # and has said nothing more: workers of its own may still hold the socket
                raise self._dead()
            gone = self._process.poll() is not None
            if time.monotonic() > until:
                self._process.kill()
                too_short = limit == self._patience
                raise StageFailure(
                    ExitCode.TEMPORARY,
                    "SamplerSilent",
                    f"{self._name} gave no sign of life for {limit:g} s and was ended"
                    + ("; vllm.patienceSeconds may be too short" if too_short else ""),
                )
        try:
            message = self._engine.recv()
        except (EOFError, OSError) as e:
            raise self._dead() from e
        if isinstance(message, Failed):
            self._check_stop()
            raise failure_of(self._name, message)
        assert isinstance(message, Answer | Finished)
        return message

    def _readable(self) -> bool:
        with contextlib.suppress(OSError):
            return self._engine.poll(LOOK)
        return True  # it is closed, which reading says

    def _dead(self) -> StageFailure:
        try:
            code: int | str = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = "none, and was killed"
        self._check_stop()
        return StageFailure(
            ExitCode.TEMPORARY,
            "SamplerDied",
            f"the process of {self._name} is gone (exit code {code}); the log says why, if it "
            "could",
        )


class EngineError(StageFailure):
    """An engine that ran has ended with an error of its own, and has said so."""

    def __init__(self, engine: str, error: str) -> None:
        super().__init__(ExitCode.TEMPORARY, "SamplerDied", f"{engine} ended: {error}")
        self.error = error
        """In vLLM's words."""


def failure_of(engine: str, told: Failed) -> StageFailure:
    """How a stage ends whose engine has ended with these words."""
    if told.refused and TOO_FULL in told.error:
        return StageFailure(
            ExitCode.TEMPORARY,
            "NoRoomForSampler",
            f"{engine} finds too little free memory: {told.error}; it is tried again, as an "
            "earlier attempt's may come free late; if nobody else holds it, lower "
            "vllm.memoryShare",
        )
    if told.refused:
        return StageFailure(
            ExitCode.BAD_CONFIGURATION, "SamplerRefused", f"vLLM refuses to start: {told.error}"
        )
    return EngineError(engine, told.error)


def environment(ours: Mapping[str, str], gpus: Sequence[str]) -> dict[str, str]:
    """Variables of an engine's process: ours, but for what makes of it a rank."""
    kept = {name: value for name, value in ours.items() if name not in OF_A_RANK}
    seen = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}
    return {**QUIET, **kept, **seen}


def _write(engine: Connection, calls: "SimpleQueue[bytes | None]") -> None:
    """Every call in its turn, until None; whoever waits for an answer sees that nobody reads."""
    with contextlib.suppress(OSError):
        while (call := calls.get()) is not None:
            engine.send_bytes(call)


def _hang_up(engine: Connection) -> None:
    """The other end reads its end now, and a write that waits for it fails."""
    with socket.fromfd(engine.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as end:
        end.shutdown(socket.SHUT_RDWR)
