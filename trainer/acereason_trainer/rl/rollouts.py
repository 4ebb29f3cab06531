"""Drawing a step's responses and having them checked while others are still drawn."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from acereason_trainer.peers import ALONE, Peers
from acereason_trainer.rewards.protocol import Grade, Rewarder
from acereason_trainer.rewards.waiting import require_verdicts, verdict_of
from acereason_trainer.rl.prompts import Prompt
from acereason_trainer.rollout.protocol import Completion, Sampler, SampleRequest, SamplingParams
from acereason_trainer.seeds import draw_seed
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
        """0 to 1. Cut at the length limit is no answer, whatever stands in it; and 0 where the
        check failed for our own reasons (`counted` is False then)."""
        return 0.0 if self.truncated else self.grade.reward or 0.0

    @property
    def counted(self) -> bool:
        """Whether there is a verdict at all."""
        return self.grade.reward is not None


@dataclass(frozen=True)
class Means:
    """Who draws and checks, and under which phases the seconds are counted."""

    sampler: Sampler
    rewarder: Rewarder
    recorder: Recorder
    check_stop: Callable[[], None]
    drawing_phase: str = "generate"
    checking_phase: str = "reward_wait"
    peers: Peers = ALONE


@dataclass(frozen=True)
class Rollouts:
    """Groups of one step, and how long they took."""

    groups: Sequence[Sequence[Rollout]]
    """[P][G]"""
    generate_seconds: float
    """Until the last rank had drawn its share."""
    tail_seconds: float
    """From 90 % of the responses drawn to the last one."""
    drawing_seconds: float = 0.0
    """The mean over the ranks that draw: whoever is done earlier waits."""
    refills: Sequence[int] = ()
    """Groups that each refill of the step added, where there were any."""

    @property
    def flat(self) -> list[Rollout]:
        """All responses, group by group."""
        return [r for group in self.groups for r in group]

    def refilled_by(self, more: "Rollouts") -> "Rollouts":
        """These groups and, behind them, what was drawn in the place of some of them."""
        return Rollouts(
            [*self.groups, *more.groups],
            self.generate_seconds + more.generate_seconds,
            self.tail_seconds + more.tail_seconds,
            self.drawing_seconds + more.drawing_seconds,
            refills=[*self.refills, len(more.groups)],
        )


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
    *,
    name: tuple[str | int, ...],
    expected: Mapping[str, float],
    by: Means,
) -> Rollouts:
    """Draw `samples` responses for each prompt and check them, every rank its share of them.

    `name` is what the draws are for: with the prompt and the sample it names every seed. The
    longest responses are begun first, by `expected` (a prompt's last mean length) or else by what
    its row says; of whom nothing is known comes before all others. What is short then fills the
    end.
    """
    requests = requests_for(prompts, samples, name)
    rows = {p.id: p.row.data for p in prompts}
    lengths = {p.id: expected.get(p.id, p.row.expected_tokens) for p in prompts}
    longest_first = sorted(requests, key=lambda r: -lengths[r.prompt_id])
    shares = by.peers.together(lambda: _drawn(longest_first, rows, params, by))
    found = {_asked(r.completion.request): r for share in shares for r in share.rollouts}
    rollouts = [found[_asked(r)] for r in requests]
    require_verdicts(sum(not r.counted for r in rollouts), len(rollouts))
    times = sorted(after for share in shares for after in share.times)
    return Rollouts(
        [rollouts[i : i + samples] for i in range(0, len(rollouts), samples)],
        generate_seconds=max(share.seconds for share in shares),
        tail_seconds=times[-1] - times[int(0.9 * (len(times) - 1))],
        drawing_seconds=fmean(share.seconds for share in shares if share.draws),
    )


@dataclass(frozen=True)
class _Share:
    """What one rank drew."""

    rollouts: Sequence[Rollout]
    times: Sequence[float]
    """Seconds until each response was drawn."""
    seconds: float
    """Until all were."""
    draws: bool
    """Whether the rank has what draws. Else its device was busy for one that does."""


def _drawn(
    requests: Sequence[SampleRequest],
    rows: Mapping[str, Mapping[str, Any]],
    params: SamplingParams,
    by: Means,
) -> _Share:
    """Draw this rank's share of these and have them checked meanwhile."""
    grades: dict[tuple[str, int], Future[Grade]] = {}
    times: list[float] = []
    began = time.monotonic()

    def check(drawn: Sequence[Completion]) -> None:
        for c in drawn:
            grades[_asked(c.request)] = by.rewarder.submit(rows[c.request.prompt_id], c.text)
            times.append(time.monotonic() - began)

    with by.recorder.phase(by.drawing_phase):
        completions = by.sampler.generate(requests, params, check)
    seconds = time.monotonic() - began
    with by.recorder.phase(by.checking_phase):
        rollouts = [
            Rollout(c, verdict_of(grades[_asked(c.request)], by.check_stop)) for c in completions
        ]
    return _Share(rollouts, times, seconds, by.sampler.draws)


def _asked(request: SampleRequest) -> tuple[str, int]:
    return request.prompt_id, request.sample
