"""Drawing a step's responses and having them checked while others are still drawn."""

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from acereason_trainer.rewards.protocol import Grade, Rewarder
from acereason_trainer.rl.prompts import Prompt
from acereason_trainer.rollout.protocol import Completion, Sampler, SampleRequest, SamplingParams
from acereason_trainer.rollout.seeds import draw_seed
from acereason_trainer.telemetry.recorder import Recorder


@dataclass(frozen=True)
class Rollout:
    """One response and its verdict."""

    completion: Completion
    grade: Grade

    @property
    def truncated(self) -> bool:
        """Whether it hit the length limit."""
        return self.completion.finish == "length"

    @property
    def reward(self) -> float:
        """0 to 1; 0 where the check failed for our own reasons (`counted` is False then)."""
        return self.grade.reward or 0.0

    @property
    def counted(self) -> bool:
        """Whether there is a verdict at all."""
        return self.grade.reward is not None


@dataclass(frozen=True)
class Rollouts:
    """Groups of one step, and how long they took."""

    groups: Sequence[Sequence[Rollout]]
    """[P][G]"""
    generate_seconds: float
    tail_seconds: float
    """From 90 % of the responses drawn to the last one."""

    @property
    def flat(self) -> list[Rollout]:
        """All responses, group by group."""
        return [r for group in self.groups for r in group]


def requests_for(
    prompts: Sequence[Prompt], samples: int, name: tuple[str | int, ...]
) -> list[SampleRequest]:
    """`samples` requests for each prompt; a prompt that stands twice draws further samples."""
    before: Counter[str] = Counter()
    requests = []
    for prompt in prompts:
        first = before[prompt.id]
        before[prompt.id] += samples
        requests += [
            SampleRequest(prompt.id, prompt.tokens, s, draw_seed(*name, prompt.id, s))
            for s in range(first, first + samples)
        ]
    return requests


def collect(
    prompts: Sequence[Prompt],
    samples: int,
    params: SamplingParams,
    name: tuple[str | int, ...],
    sampler: Sampler,
    rewarder: Rewarder,
    recorder: Recorder,
) -> Rollouts:
    """Draw `samples` responses for each prompt and check them.

    `name` is what the draws are for: with the prompt and the sample it names every seed.
    """
    requests = requests_for(prompts, samples, name)
    rows = {p.id: p.row.data for p in prompts}
    grades: dict[tuple[str, int], Future[Grade]] = {}
    times: list[float] = []

    def check(drawn: Sequence[Completion]) -> None:
        for c in drawn:
            asked = (c.request.prompt_id, c.request.sample)
            grades[asked] = rewarder.submit(rows[c.request.prompt_id], c.text)
            times.append(time.monotonic())

    began = time.monotonic()
    with recorder.phase("generate"):
        completions = sampler.generate(requests, params, check)
    ended = time.monotonic()
    with recorder.phase("verify"):
        rollouts = [
            Rollout(c, grades[c.request.prompt_id, c.request.sample].result()) for c in completions
        ]
    most = times[int(0.9 * (len(times) - 1))]
    return Rollouts(
        [rollouts[i : i + samples] for i in range(0, len(rollouts), samples)],
        generate_seconds=ended - began,
        tail_seconds=times[-1] - most,
    )
