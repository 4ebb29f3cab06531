"""What truncated and unchecked responses teach, mode by mode."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.rl import MathRL
from acereason_trainer.policy.protocol import Update
from acereason_trainer.rewards.protocol import Grade, Verdict
from acereason_trainer.rl.batches import advantages_of, assemble, masked
from acereason_trainer.rl.measure import measure
from acereason_trainer.rl.rollouts import Means, Rollout, Rollouts, collect
from acereason_trainer.rollout.protocol import Completion, SampleRequest, SamplingParams
from acereason_trainer.stage import StageFailure
from made_up_rollouts import Checks, Draws, a_recorder, prompts


def a_rollout(reward: float | None, *, tokens: int = 4, truncated: bool = False) -> Rollout:
    request = SampleRequest("p", (5, 6), 0, 0)
    return Rollout(
        Completion(
            request,
            tuple(range(tokens)),
            (-0.5,) * tokens,
            "length" if truncated else "stop",
            "",
        ),
        Grade(Verdict.INFRA_ERROR if reward is None else Verdict.CORRECT, reward),
    )


def a_step(*group: Rollout) -> Rollouts:
    return Rollouts([group], generate_seconds=1.0, tail_seconds=0.0)


def a_stage(**overlong: object) -> MathRL:
    return MathRL.parse({"overlong": overlong, "groupSize": {"fixed": 4}})


GROUP = (a_rollout(1.0), a_rollout(0.0), a_rollout(0.0, tokens=8, truncated=True))


def test_penalize_teaches_that_a_truncated_response_is_wrong():
    advantages = advantages_of(a_step(*GROUP), a_stage(mode="penalize"))
    assert advantages[0, 2] == advantages[0, 1] < 0


def test_mask_gives_a_truncated_response_no_gradient():
    advantages = advantages_of(a_step(*GROUP), a_stage(mode="mask"))
    assert advantages[0, 2] == 0
    assert advantages[0, 0] > 0 > advantages[0, 1]


@pytest.mark.parametrize(("in_statistics", "expected"), [(True, 1.1547), (False, 0.7071)])
def test_a_masked_response_counts_in_the_statistics_only_where_asked(
    in_statistics: bool, expected: float
):
    stage = a_stage(mode="mask", inStatistics=in_statistics)
    assert advantages_of(a_step(*GROUP), stage)[0, 0].item() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(("in_denominator", "tokens"), [(True, 16), (False, 8)])
def test_a_masked_responses_tokens_count_in_the_denominator_only_where_asked(
    in_denominator: bool, tokens: int
):
    stage = a_stage(mode="mask", inDenominator=in_denominator)
    step = a_step(*GROUP)
    advantages = advantages_of(step, stage)
    batch = assemble(step, advantages, stage, temperature=1.0)
    assert batch.token_weights[0][0].item() == pytest.approx(advantages[0, 0].item() / tokens)


def test_an_infrastructure_error_is_masked_and_never_a_zero():
    step = a_step(a_rollout(1.0), a_rollout(1.0), a_rollout(None))
    advantages = advantages_of(step, a_stage(mode="penalize"))
    assert not advantages.any(), "two right answers and an unchecked one have no spread"


def test_a_right_answer_that_ran_into_the_limit_is_no_answer():
    step = a_step(a_rollout(1.0, truncated=True), a_rollout(1.0), a_rollout(0.0))
    advantages = advantages_of(step, a_stage(mode="penalize"))
    assert advantages[0, 0] == advantages[0, 2] < 0 < advantages[0, 1]


@pytest.mark.parametrize(("unchecked", "taken"), [(2, True), (3, False)])
def test_a_step_that_mostly_could_not_be_checked_is_not_taken(
    tmp_path: Path, unchecked: int, taken: bool
):
    checks = Checks(lambda _, sample: None if sample < unchecked else 1.0)
    refused = pytest.raises(StageFailure, match=f"{unchecked} responses of 4 could not be checked")
    with a_recorder(tmp_path) as recorder, nullcontext() if taken else refused as failure:
        by = Means(Draws(), checks, recorder, lambda: None)
        collect(prompts(1), 4, SamplingParams(1.0, 1.0, 8), name=("step", 1), expected={}, by=by)
    assert failure is None or failure.value.code is ExitCode.TEMPORARY


def test_what_is_left_out_of_the_loss_is_measured():
    step = a_step(*GROUP, a_rollout(None))
    assert masked(step, a_stage(mode="mask")).tolist() == [[False, False, True, True]]
    assert masked(step, a_stage(mode="penalize")).tolist() == [[False, False, False, True]]


def test_unchecked_responses_are_in_no_mean():
    step = a_step(a_rollout(1.0), a_rollout(0.0), a_rollout(None))
    stage = a_stage(mode="penalize")
    advantages = advantages_of(step, stage)
    update = Update(0.0, 0.0, 0.0, 0.0, 0.0, 0)
    metrics = measure(step, advantages, masked(step, stage), update)
    assert metrics["reward"] == metrics["accuracy"] == 0.5
    assert metrics["infra_error_share"] == pytest.approx(1 / 3)
    assert metrics["masked_share"] == pytest.approx(1 / 3)


def test_only_responses_that_teach_are_in_the_batch():
    step = a_step(*GROUP)
    stage = a_stage(mode="mask")
    batch = assemble(step, advantages_of(step, stage), stage, temperature=0.8)
    assert len(batch.sequences) == 2
    assert batch.temperature == 0.8
    assert batch.prompt_lengths == [2, 2]


def test_a_step_without_signal_gives_an_empty_batch():
    step = a_step(a_rollout(0.0), a_rollout(0.0))
    stage = a_stage(mode="penalize")
    assert assemble(step, torch.zeros(1, 2), stage, temperature=1.0).sequences == []


def test_rollouts_know_their_truncation():
    assert GROUP[2].truncated
    assert not GROUP[0].truncated
