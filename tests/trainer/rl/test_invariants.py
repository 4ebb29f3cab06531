"""What must hold of every step is looked at, and a broken one ends the attempt."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.rl import MathRL
from acereason_trainer.policy.flops import Machinery
from acereason_trainer.policy.protocol import Policy
from acereason_trainer.rl.batches import advantages_of
from acereason_trainer.rl.curriculum import Curriculum
from acereason_trainer.rl.drawing import Drawing
from acereason_trainer.rl.invariants import check_rollouts, require_version
from acereason_trainer.rl.rollouts import Means, Rollout, Rollouts
from acereason_trainer.stage import StageFailure
from hypothesis import given
from hypothesis import strategies as st
from made_up_rollouts import Checks, Draws, a_recorder, a_response, groups, prompts

OWN = {"reward": {"function": "a.b:c"}}


def a_stage(**settings: Any) -> MathRL:
    return MathRL.parse({"groupSize": {"fixed": 4}, **settings})


def one_group(*responses: Rollout) -> Rollouts:
    return Rollouts([responses], generate_seconds=1.0, tail_seconds=0.0)


def broken(rollouts: Rollouts, stage: MathRL, advantages: torch.Tensor | None = None) -> str:
    with pytest.raises(StageFailure) as failure:
        check_rollouts(
            rollouts, advantages_of(rollouts, stage) if advantages is None else advantages, stage
        )
    assert (failure.value.code, failure.value.reason) == (ExitCode.HEALTH_STOP, "InvariantBroken")
    return failure.value.message


@given(
    rewards=st.lists(
        st.lists(st.sampled_from([0.0, 1.0, None]), min_size=4, max_size=4), min_size=1
    ),
    truncated=st.lists(st.booleans(), min_size=4, max_size=4),
    overlong=st.sampled_from(
        [{}, {"mode": "mask"}, {"mode": "mask", "inStatistics": False, "inDenominator": False}]
    ),
)
def test_whatever_is_drawn_and_checked_keeps_them(
    rewards: list[list[float | None]], truncated: list[bool], overlong: dict[str, Any]
) -> None:
    made = [
        [a_response(r, truncated=cut) for r, cut in zip(group, truncated, strict=True)]
        for group in rewards
    ]
    rollouts = Rollouts(made, generate_seconds=1.0, tail_seconds=0.0)
    stage = a_stage(overlong=overlong)
    check_rollouts(rollouts, advantages_of(rollouts, stage), stage)


def test_a_step_is_drawn_from_the_weights_that_it_changes() -> None:
    require_version(6, step=7)
    with pytest.raises(StageFailure, match="step 7 would be drawn from the weights of step 5"):
        require_version(5, step=7)


def test_it_is_the_policy_that_counts_its_steps_and_not_the_loop(tmp_path: Path) -> None:
    """So a policy that stepped twice, or went on from another state than its loop, is found."""
    stepped_once = cast(Policy, SimpleNamespace(steps=1))
    with a_recorder(tmp_path) as recorder:
        means = Means(Draws(), Checks(lambda *_: 1.0), recorder, check_stop=lambda: None)
        drawing = Drawing(a_stage(promptsPerStep=2), means, ("k", 0), Machinery(1, None, None))
        drawing.push(stepped_once)
        with pytest.raises(StageFailure, match="step 1 would be drawn from the weights of step 1"):
            drawing.step(Curriculum(), prompts(4))


def test_a_verdict_is_0_or_1_and_a_reward_of_ones_own_may_lie_between() -> None:
    half = one_group(a_response(0.5), a_response(0.0))
    assert "a verdict is 0 or 1" in broken(half, a_stage())
    check_rollouts(half, advantages_of(half, a_stage(**OWN)), a_stage(**OWN))
    assert "not within 0 to 1" in broken(one_group(a_response(1.5)), a_stage(**OWN))


def test_nothing_is_rewarded_before_the_reasoning_has_ended() -> None:
    early = one_group(a_response(1.0, text="42"), a_response(0.0))
    assert "rewarded without </think>" in broken(early, a_stage())
    bare = a_stage(prompting={"thinkOpen": ""})
    check_rollouts(early, advantages_of(early, bare), bare)


def test_equal_rewards_teach_nothing() -> None:
    said = broken(groups([1, 1]), a_stage(), torch.tensor([[0.5, -0.5]]))
    assert "all rewards are equal" in said
