"""The trainer's end of an engine's process: starts it, asks it, and notices when it is gone.

Everything that is waited for has a limit, and an engine that is silent for longer is killed: its
death, however it comes, is one failure that says so and lets the attempt be tried again.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import Pipe
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

LOOK = 0.5
"""Seconds between two looks at whether a stop was asked for."""
END_SECONDS = 10.0
"""Within which an engine that is told to end must have ended."""
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
        gpus: Sequence[str],
        patience: float,
        check_stop: Callable[[], None],
    ) -> None:
        """Start it; returns when it is ready, and asleep.

        gpus: those it may use, as CUDA_VISIBLE_DEVICES names them. patience: seconds for a start,
        for a call, and without a sign of life. check_stop: called while it starts. Raises
        StageFailure, or what check_stop raises.
        """
        self._patience = patience
        self._engine, theirs = Pipe()
        command = [sys.executable, "-m", "acereason_trainer.rollout.vllm_engine"]
        self._process = subprocess.Popen(
            [*command, str(theirs.fileno()), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=environment(os.environ, gpus),
        )
        theirs.close()
        try:
            self._ask(Call("start", (settings,), answered=True), check_stop)
        except BaseException:
            self.close()
            raise

    def call(self, method: str, *arguments: Any) -> Any:
        """What a method of the engine's process gives."""
        return self._ask(Call(method, arguments, answered=True), lambda: None)

    def add(self, asked: Sequence[Asked]) -> None:
        """Have it draw these; `drawn` gives them as they finish."""
        if asked:
            self._send(Call("add", (asked,), answered=False))

    def drawn(self, check_stop: Callable[[], None]) -> tuple[Drawn, ...]:
        """The next responses that are done; waits for some. Raises what check_stop raises."""
        while True:
            message = self._receive(check_stop)
            if isinstance(message, Finished) and message.drawn:
                return message.drawn

    def close(self) -> None:
        """End it, kindly and then not."""
        self._engine.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, call: Call, check_stop: Callable[[], None]) -> Any:
        self._send(call)
        while not isinstance(message := self._receive(check_stop), Answer):
            pass  # a response that finished before the engine read the call
        return message.value

    def _send(self, call: Call) -> None:
        try:
            self._engine.send(call)
        except OSError as e:
            raise self._dead() from e

    def _receive(self, check_stop: Callable[[], None]) -> Answer | Finished:
        until = time.monotonic() + self._patience
        check_stop()
        while not self._readable():
            check_stop()
            if time.monotonic() > until:
                self._process.kill()
                raise StageFailure(
                    ExitCode.TEMPORARY,
                    "SamplerSilent",
                    f"the vLLM engine gave no sign of life for {self._patience:g} s "
                    "(vllm.patienceSeconds) and was ended",
                )
        try:
            message = self._engine.recv()
        except (EOFError, OSError) as e:
            raise self._dead() from e
        if isinstance(message, Failed):
            raise _failure(message)
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
        return StageFailure(
            ExitCode.TEMPORARY,
            "SamplerDied",
            f"the process of the vLLM engine is gone (exit code {code}); the log says why, if it "
            "could",
        )


def _failure(told: Failed) -> StageFailure:
    if told.settings:
        return StageFailure(
            ExitCode.BAD_CONFIGURATION, "SamplerRefused", f"vLLM refuses to start: {told.error}"
        )
    return StageFailure(ExitCode.TEMPORARY, "SamplerDied", f"the vLLM engine ended: {told.error}")


def environment(ours: Mapping[str, str], gpus: Sequence[str]) -> dict[str, str]:
    """Variables of an engine's process: ours, but for what makes of it a rank."""
    kept = {name: value for name, value in ours.items() if name not in OF_A_RANK}
    seen = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}
    return {**QUIET, **kept, **seen}
