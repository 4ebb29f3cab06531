"""An engine in the place of vLLM's: says what it says, and does at once what a test asks it for.

Pushed weights it loads into transformers' model of the same configuration, and scores with that.

python -m tests.trainer.rollout.an_engine DESCRIPTOR PARENT
"""

import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from acereason_trainer.processes import die_with_parent
from acereason_trainer.rollout.engine_messages import Asked, Drawn, EngineSettings, Failed
from acereason_trainer.rollout.engine_serving import serve


class Engine:
    """Draws a response of as many tokens as it may have, in one step."""

    def __init__(self) -> None:
        self._asked: list[Asked] = []
        self._fails_in = ""

    def start(self, settings: EngineSettings) -> None:
        """There is nothing to start."""
        self._model = settings.model

    def attach(self, path: str, size: int) -> None:
        self._memory = (path, size)

    def cache_tokens(self) -> int:
        return 10_000

    def sleep(self) -> None:
        """It holds nothing of a GPU."""

    def fail_in(self, method: str, error: str) -> None:
        """Fail with this error when this part of a push is asked for."""
        self._fails_in, self._error = method, error

    def _may_fail(self, method: str) -> None:
        if method == self._fails_in:
            raise RuntimeError(self._error)

    def begin_push(self) -> None:
        self._weights: dict[str, Any] = {}
        self._arrivals: Any = None

    def take_bucket(self, pieces: Sequence[Any]) -> None:
        self._may_fail("take_bucket")
        import torch  # half of the tests need none
        from acereason_trainer.rollout.weight_buckets import Arrivals, SharedMemory

        self._arrivals = self._arrivals or Arrivals(torch.device("cpu"))
        memory = SharedMemory.of_another(*self._memory)
        self._weights |= dict(self._arrivals.of(pieces, memory))
        memory.close()

    def end_push(self) -> None:
        self._may_fail("end_push")
        from transformers import AutoConfig, AutoModelForCausalLM

        self._module = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(self._model))
        self._module.load_state_dict(self._weights, strict=False)  # a tied matrix comes once

    def score(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        import torch

        scores = []
        for ids in torch.tensor(sequences):
            with torch.no_grad():
                logprobs = torch.log_softmax(self._module(ids[None, :-1]).logits[0].float(), -1)
            scores.append(logprobs[range(len(ids) - 1), ids[1:]].tolist())
        return scores

    def add(self, asked: Sequence[Asked]) -> None:
        self._asked += asked

    @property
    def draws(self) -> bool:
        return bool(self._asked)

    def step(self) -> tuple[Drawn, ...]:
        done, self._asked = self._asked, []
        return tuple(
            Drawn(a.number, (70_000,) * a.max_tokens, (-0.5,) * a.max_tokens, "length")
            for a in done
        )

    def process(self) -> int:
        return os.getpid()

    def hang(self) -> None:
        while True:
            signal.pause()

    def die(self) -> None:
        os._exit(9)

    def worker(self) -> int:
        """A fork, as those of vLLM are: it has this process's end of the socket, and lives on."""
        if pid := os.fork():
            return pid
        while True:
            signal.pause()


if __name__ == "__main__":
    die_with_parent(int(sys.argv[2]))
    trainer = Connection(int(sys.argv[1]))
    try:
        serve(trainer, Engine())
    except RuntimeError as e:
        trainer.send(Failed(f"RuntimeError: {e}", refused=False))
