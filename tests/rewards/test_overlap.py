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


class SlowChecker:
    """Has its verdicts `WAIT` seconds after the last response."""

    def __init__(self) -> None:
        self.asked_for: list[Future[Grade]] = []

    def submit(self, row: Mapping[str, Any], response: str) -> "Future[Grade]":
        self.asked_for.append(Future())
        return self.asked_for[-1]

    def close(self) -> None:
        """Nothing runs."""

    def finish(self) -> None:
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
        threading.Timer(WAIT, self.checker.finish).start()
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
    assert WAIT * 0.9 <= row["reward_wait_seconds"] <= row["step_seconds"]
