"""Builders: groups of responses whose rewards are given, and those who draw and check them."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from acereason_trainer.config.common import Telemetry
from acereason_trainer.dataset import Row
from acereason_trainer.peers import End, Peers
from acereason_trainer.policy.protocol import Weights
from acereason_trainer.rewards.protocol import Grade, Verdict
from acereason_trainer.rl import rollouts as rollouts_module
from acereason_trainer.rl.prompts import Prompt
from acereason_trainer.rl.rollouts import Rollout, Rollouts
from acereason_trainer.rollout.protocol import Completion, OnBatch, SampleRequest, SamplingParams
from acereason_trainer.telemetry import recorder as recorder_module
from acereason_trainer.telemetry.recorder import Recorder

Rewards = Callable[[str, int], float | None]
"""Reward of a prompt's sample; None: it could not be checked."""


def prompts(n: int) -> list[Prompt]:
    """`n` prompts p0, p1, ..."""
    return [
        Prompt(Row(id=f"p{i}", data={"id": f"p{i}", "problem": f"p{i}"}), (1, 2)) for i in range(n)
    ]


def a_response(
    reward: float | None,
    *,
    prompt: str = "p",
    sample: int = 0,
    tokens: int = 4,
    truncated: bool = False,
    text: str = "</think> 1",
) -> Rollout:
    """One checked response; reward None: its check failed."""
    request = SampleRequest(prompt, (5, 6), sample, 0)
    finish = "length" if truncated else "stop"
    verdict = Verdict.INFRA_ERROR if reward is None else Verdict.CORRECT
    return Rollout(
        Completion(request, tuple(range(tokens)), (-0.5,) * tokens, finish, text),
        Grade(verdict, reward),
    )


def groups(*rewards: Sequence[float]) -> Rollouts:
    """One group for each list of rewards."""
    made = [
        [a_response(r, prompt=f"p{g}", sample=s) for s, r in enumerate(group)]
        for g, group in enumerate(rewards)
    ]
    return Rollouts(made, generate_seconds=1.0, tail_seconds=0.0)


class Draws:
    """A sampler of one-token responses; it remembers what it was asked for."""

    draws = True
    probe_difference = None

    def __init__(self, version: int = 0) -> None:
        self.version = version
        self.asked: list[list[SampleRequest]] = []

    def push(self, policy: Weights, version: int) -> None:
        """Take the version."""
        self.version = version

    def rest(self) -> None:
        """Nothing to give back."""

    def close(self) -> None:
        """Nothing to end."""

    def generate(
        self, requests: Sequence[SampleRequest], params: SamplingParams, on_batch: OnBatch
    ) -> list[Completion]:
        """Answer each request by its own number."""
        self.asked.append(list(requests))
        drawn = [Completion(r, (7,), (-0.1,), "stop", f"</think> {r.sample}") for r in requests]
        on_batch(drawn)
        return drawn


class Clock:
    """Stands for the module `time` where rollouts and rows are timed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        for timed in (rollouts_module, recorder_module):
            monkeypatch.setattr(timed, "time", self)

    def monotonic(self) -> float:
        """Moved by nobody but the test."""
        return self.now


class DrawsInTime(Draws):
    """One that ends with a response after another."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        """seconds: that each response takes."""
        super().__init__()
        self._clock = clock
        self._seconds = seconds

    def generate(
        self, requests: Sequence[SampleRequest], params: SamplingParams, on_batch: OnBatch
    ) -> list[Completion]:
        """Answer them one by one."""
        drawn = []
        for request in requests:
            self._clock.now += self._seconds
            drawn += super().generate([request], params, on_batch)
        return drawn


class Checks:
    """A rewarder whose verdicts are given."""

    def __init__(self, rewards: Rewards) -> None:
        self._rewards = rewards

    def submit(self, row: Mapping[str, Any], response: str) -> "Future[Grade]":
        """Grade at once, by the prompt and the number in the response."""
        reward = self._rewards(row["id"], int(response.rsplit(" ", 1)[1]))
        done: Future[Grade] = Future()
        done.set_result(Grade(Verdict.CORRECT if reward else Verdict.WRONG, reward))
        return done

    def close(self) -> None:
        """Nothing to end."""


class ChecksInTime(Checks):
    """A rewarder whose every verdict is waited for."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        """seconds: that each verdict takes once somebody waits for it. Half of them are right."""
        super().__init__(lambda prompt, sample: sample % 2)
        self._clock = clock
        self._seconds = seconds

    def submit(self, row: Mapping[str, Any], response: str) -> "Future[Grade]":
        """Promise a verdict."""
        promised = _Promised(self._clock, self._seconds)
        promised.set_result(super().submit(row, response).result())
        return promised


class _Promised(Future[Grade]):
    def __init__(self, clock: Clock, seconds: float) -> None:
        super().__init__()
        self._clock = clock
        self._seconds = seconds

    def result(self, timeout: float | None = None) -> Grade:
        self._clock.now += self._seconds
        return super().result(timeout)


class Beside(Peers):
    """The first of two ranks; what the other one's share of a drawing was is given."""

    world = 2

    def __init__(self, **share: Any) -> None:
        self._share = {"rollouts": [], "times": [], "seconds": 0.0, "draws": True, **share}

    def gather(self, end: End) -> list[End]:
        """This rank's end and the other's."""
        return [end, replace(end, value=replace(end.value, **self._share))]


def a_recorder(directory: Path) -> Recorder:
    """One that has begun."""
    recorder = Recorder(directory, total=None, unit="steps", settings=Telemetry(), key="mathRL-0")
    recorder.start()
    return recorder
