"""The engine's end of its socket: carries out what the trainer asks for, and draws meanwhile.

Calls are read by a thread of their own: a trainer that hands over many prompts while the engine
hands over many responses would otherwise wait for this process, and this process for it.
"""

import time
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread
from typing import Protocol

from acereason_trainer.rollout.engine_messages import Answer, Call, Drawn, Finished

SIGN_OF_LIFE = 1.0
"""Seconds between two while nothing ends."""


class Draws(Protocol):
    """An engine; the trainer names its further methods."""

    @property
    def draws(self) -> bool:
        """Whether there is something to draw."""
        ...

    def step(self) -> tuple[Drawn, ...]:
        """Draw on; those that are done."""
        ...


def serve(trainer: Connection, engine: Draws) -> None:
    """Do what the trainer asks until it hangs up."""
    calls: SimpleQueue[Call | None] = SimpleQueue()
    Thread(target=_read, args=(trainer, calls), daemon=True).start()

    def tell(message: Answer | Finished) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # it has hung up: `_read` hears it
            trainer.send(message)

    said = time.monotonic()
    while True:
        while not calls.empty() or not engine.draws:
            if (call := calls.get()) is None:
                return
            value = getattr(engine, call.method)(*call.arguments)
            if call.answered:
                tell(Answer(value))
        drawn = engine.step()
        now = time.monotonic()
        if drawn or now - said > SIGN_OF_LIFE:
            tell(Finished(drawn))
            said = now


def _read(trainer: Connection, calls: "SimpleQueue[Call | None]") -> None:
    """Every call as it comes; None when the trainer has hung up."""
    try:
        while True:
            calls.put(trainer.recv())
    except (EOFError, OSError):
        calls.put(None)
