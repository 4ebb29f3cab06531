"""Groups without signal are replaced by others where the stage asks for it, and only there."""

from pathlib import Path
from typing import Any

import pytest
import torch
from acereason_trainer.config.rl import MathRL
from acereason_trainer.policy.flops import Machinery
from acereason_trainer.rl.batches import advantages_of, assemble
from acereason_trainer.rl.curriculum import Curriculum
from acereason_trainer.rl.drawing import Drawing
from acereason_trainer.rl.measure import solved
from acereason_trainer.rl.rollouts import Means, Rollouts
from made_up_rollouts import Checks, Draws, Rewards, a_recorder, groups, prompts


def a_stage(**settings: Any) -> MathRL:
    return MathRL.parse({"promptsPerStep": 4, "groupSize": {"fixed": 2}, **settings})


def refilling(refills: int) -> MathRL:
    return a_stage(dynamicSampling={"maxRefills": refills})


def drawn(
    tmp_path: Path, stage: MathRL, rewards: Rewards, n: int, state: Curriculum | None = None
) -> tuple[Rollouts, Draws]:
    """The responses of a step over `n` prompts, and who drew them."""
    state = state or Curriculum()
    sampler = Draws(version=state.step)
    with a_recorder(tmp_path) as recorder:
        means = Means(sampler, Checks(rewards), recorder, check_stop=lambda: None)
        drawing = Drawing(stage, means, ("k", 0), Machinery(1, None, None))
        return drawing.step(state, prompts(n)), sampler


def spread(prompt: str, sample: int) -> float:
    """Every prompt has a signal."""
    return float(sample % 2)


def none(prompt: str, sample: int) -> float:
    """No prompt has."""
    return 0.0


def ids(rollouts: Rollouts) -> list[str]:
    return [group[0].completion.request.prompt_id for group in rollouts.groups]


def test_without_the_setting_a_step_is_its_batch_whatever_it_teaches(tmp_path: Path) -> None:
    rollouts, sampler = drawn(tmp_path, a_stage(), none, 12)
    assert len(rollouts.groups) == 4
    assert len(sampler.asked) == 1


def test_as_many_prompts_are_drawn_as_groups_lack_a_signal(tmp_path: Path) -> None:
    silent = {p.id for p in Curriculum().next_prompts(prompts(12), a_stage(), ("k", 0))[:3]}
    rollouts, sampler = drawn(
        tmp_path, refilling(3), lambda p, s: 0.0 if p in silent else spread(p, s), 12
    )
    assert [len(asked) // 2 for asked in sampler.asked] == [4, 3]
    assert rollouts.refills == [3]
    assert len(set(ids(rollouts))) == 7


def test_a_step_with_signal_everywhere_is_not_refilled(tmp_path: Path) -> None:
    rollouts, sampler = drawn(tmp_path, refilling(3), spread, 12)
    assert len(rollouts.groups) == 4
    assert len(sampler.asked) == 1


@pytest.mark.parametrize(("n", "refills"), [(100, [4, 4]), (4, []), (6, [2])])
def test_refills_end_at_their_number_and_at_the_epochs_last_prompt(
    tmp_path: Path, n: int, refills: list[int]
) -> None:
    rollouts, _ = drawn(tmp_path, refilling(2), none, n)
    assert list(rollouts.refills) == refills
    assert len(set(ids(rollouts))) == len(rollouts.groups)


def test_what_a_refill_drew_does_not_come_again_in_the_epoch(tmp_path: Path) -> None:
    stage, state = refilling(1), Curriculum()
    seen: list[str] = []
    while state.epoch == 0:
        rollouts, _ = drawn(tmp_path / str(state.step), stage, none, 18, state)
        seen += ids(rollouts)
        state = state.after_step(
            prompts(18), stage, solved={}, lengths={}, reward=0.0, refilled=sum(rollouts.refills)
        )
    assert len(seen) == len(set(seen)) == 16, "two steps of 4 + 4; the 2 that are left fill none"


def test_a_prompt_that_stands_twice_draws_other_responses_in_a_refill(tmp_path: Path) -> None:
    sampler = Draws()
    twice = [*prompts(4), *prompts(4)]
    with a_recorder(tmp_path) as recorder:
        means = Means(sampler, Checks(none), recorder, check_stop=lambda: None)
        drawing = Drawing(refilling(1), means, ("k", 0), Machinery(1, None, None))
        drawing.step(Curriculum(), twice)
    seeds = [request.seed for asked in sampler.asked for request in asked]
    assert len(set(seeds)) == len(seeds) == 16


def test_solved_prompts_count_as_solved_though_they_were_replaced(tmp_path: Path) -> None:
    rollouts, _ = drawn(tmp_path, refilling(1), lambda p, s: 1.0, 8)
    assert set(solved(rollouts)) == {p.id for p in prompts(8)}
    assert all(solved(rollouts).values())


STEP = groups([1, 0], [0, 0], [1, 1], [0, 1])


def weight_of_a_token(stage: MathRL) -> float:
    batch = assemble(STEP, advantages_of(STEP, stage), stage, 1.0)
    assert len(batch.sequences) == 4
    return abs(float(batch.token_weights[0][0]))


def test_groups_without_signal_stay_in_the_mean_over_prompts_unless_replaced() -> None:
    assert weight_of_a_token(refilling(1)) == pytest.approx(2 * weight_of_a_token(a_stage()))


def test_their_tokens_leave_the_batchs_denominator_only_where_they_are_replaced() -> None:
    batch = {"normalizer": "batch"}
    kept = weight_of_a_token(a_stage(loss=batch))
    replaced = weight_of_a_token(a_stage(loss=batch, dynamicSampling={}))
    assert replaced == pytest.approx(2 * kept)


def test_a_step_that_found_no_signal_at_all_is_a_step_of_gradient_zero() -> None:
    silent = groups([0, 0], [1, 1])
    stage = refilling(1)
    batch = assemble(silent, advantages_of(silent, stage), stage, 1.0)
    assert batch.sequences == []
    assert not torch.any(advantages_of(silent, stage))
