"""How long a training step waits until all of its rollouts are graded, on all cores.

The peers grade a sample of the same rollouts on one core; what they would take is worked out from
that, as if they scaled without loss.
"""

import os
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from acereason_trainer.config.common import Verifier
from acereason_trainer.rewards.protocol import Grade
from acereason_trainer.rewards.rewarder import make_rewarder

from benchmarks.rewards_contest import (
    Case,
    Contestant,
    code_contestants,
    math_contestants,
    one_round,
)
from benchmarks.rewards_rollouts import Rollout, code_batch, math_batch

Domain = Literal["math", "code"]
Result = dict[str, Any]


def batch_section(prompts: int, group: int, sample: int) -> Result:
    """A step's math rollouts and its code rollouts, one batch after the other.

    sample: how many rollouts of each the peers grade.
    """
    return {
        "prompts": prompts,
        "group": group,
        "cores": _cores(),
        "math": _batch("math", list(math_batch(prompts, group)), math_contestants()[1:], sample),
        "code": _batch("code", list(code_batch(prompts, group)), code_contestants()[1:], sample),
    }


def _batch(
    domain: Domain, rollouts: Sequence[Rollout], peers: Sequence[Contestant], sample: int
) -> Result:
    seconds, grades = graded(domain, rollouts, _cores())
    every = max(1, len(rollouts) // sample)
    sampled = [{**r.row, "response": r.response} for r in rollouts[::every]]
    rates = {peer.name: _rate(peer, sampled) for peer in peers}
    return {
        "rollouts": len(rollouts),
        "seconds": round(seconds, 2),
        "perSecond": round(len(rollouts) / seconds, 1),
        "verdicts": dict(Counter(str(g.verdict) for g in grades).most_common()),
        "mistakes": sum(
            r.right is not None and g.reward is not None and r.right != (g.reward == 1)
            for r, g in zip(rollouts, grades, strict=True)
        ),
        "sample": len(sampled),
        "peers": {
            name: {
                "perSecondAndCore": round(rate, 2),
                "estimatedSeconds": round(len(rollouts) / rate / _cores(), 1),
            }
            for name, rate in rates.items()
        },
    }


def graded(domain: Domain, rollouts: Sequence[Rollout], workers: int) -> tuple[float, list[Grade]]:
    """Hand over every rollout at once; seconds until the last verdict, and the verdicts."""
    rewarder = make_rewarder(domain, Verifier(service="local", workers=workers))
    first = math_batch(16, 4, seed=1) if domain == "math" else code_batch(workers, 2, seed=1)
    for future in [rewarder.submit(r.row, r.response) for r in first]:
        future.result()
    began = time.perf_counter()
    futures = [rewarder.submit(r.row, r.response) for r in rollouts]
    grades = [future.result() for future in futures]
    seconds = time.perf_counter() - began
    rewarder.close()
    return seconds, grades


def _rate(peer: Contestant, cases: list[Case]) -> float:
    answer = one_round(peer, {"warmUp": cases[:2], "cases": cases})
    return len(cases) / float(answer["seconds"])


def _cores() -> int:
    return len(os.sched_getaffinity(0))
