"""Verdicts are asked for while other responses are still being drawn; the rest is waited for."""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from acereason_trainer.config.common import Telemetry
from acereason_trainer.dataset import Row
from acereason_trainer.rewards import Grade, Verdict
from acereason_trainer.rl.prompts import Prompt
from acereason_trainer.rl.rollouts import Means, collect
from acereason_trainer.rollout.protocol import Completion, SampleRequest, SamplingParams
from acereason_trainer.telemetry.recorder import Recorder

WAIT = 0.3


class Awaited(Future[Grade]):
    """Says when somebody begins to wait for it."""

    def __init__(self, on_wait: Callable[[], None]) -> None:
        super().__init__()
        self._on_wait = on_wait

    def result(self, timeout: float | None = None) -> Grade:
        self._on_wait()
        return super().result(timeout)


class SlowChecker:
    """Has its verdicts `WAIT` seconds after the first of them is waited for."""

    def __init__(self) -> None:
        self.asked_for: list[Awaited] = []
        self._waited_for = False

    def submit(self, row: Mapping[str, Any], response: str) -> Future[Grade]:
        self.asked_for.append(Awaited(self._begin))
        return self.asked_for[-1]

    def close(self) -> None:
        """Nothing runs."""

    def _begin(self) -> None:
        if not self._waited_for:
            self._waited_for = True
            threading.Timer(WAIT, self._finish).start()

    def _finish(self) -> None:
        for future in self.asked_for:
            future.set_result(Grade(Verdict.CORRECT, 1.0))


class OneByOne:
    """Draws one response after the other, and notes how many were asked about before each."""

    version = 0
    draws = True

    def __init__(self, checker: SlowChecker) -> None:
        self.checker = checker
        self.asked_before: list[int] = []

    def generate(
        self,
        requests: Sequence[SampleRequest],
        params: SamplingParams,
        on_batch: Callable[[Sequence[Completion]], None],
    ) -> list[Completion]:
        drawn = []
        for request in requests:
            self.asked_before.append(len(self.checker.asked_for))
            drawn.append(Completion(request, (1,), (0.0,), "stop", "</think> 1"))
            on_batch(drawn[-1:])
        return drawn


def test_verdicts_are_asked_for_before_the_last_response_and_the_rest_of_them_is_a_metric(
    tmp_path: Path,
) -> None:
    checker = SlowChecker()
    sampler = OneByOne(checker)
    prompt = Prompt(Row("a", {"id": "a", "answer": "1"}), (1, 2))
    with Recorder(tmp_path, total=1, unit="steps", settings=Telemetry(), key="k") as recorder:
        recorder.start()
        drawn = collect(
            [prompt],
            3,
            SamplingParams(1.0, 1.0, 8),
            name=("step", 1),
            expected={},
            by=Means(sampler, checker, recorder, lambda: None),
        )
        recorder.record(1, {})
    assert sampler.asked_before == [0, 1, 2]
    assert [r.reward for r in drawn.flat] == [1.0, 1.0, 1.0]
    (row,) = recorder.rows
    assert WAIT <= row["reward_wait_seconds"] <= row["step_seconds"]
