"""What the detectors see, what they say, and what ends an attempt."""

import math
from collections.abc import Callable, Iterator
from statistics import fmean
from typing import Any

import pytest
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.rl import MathRL
from acereason_trainer.policy.health import check_update
from acereason_trainer.policy.protocol import Update
from acereason_trainer.rl.curriculum import Curriculum, Vitals, rest_of
from acereason_trainer.rl.health import Alarm, alarms_of, as_metrics, end_if_unhealthy
from acereason_trainer.stage import StageFailure
from made_up_rollouts import prompts
from pydantic import ValidationError


def a_stage(dtype: str = "bfloat16", loss: dict[str, Any] | None = None, **health: Any) -> MathRL:
    settings = {"health": {"window": 3, **health}} if health else {}
    return MathRL.parse({"loading": {"dtype": dtype}, "loss": loss or {}, **settings})


def an_update(loss: float = 0.1, norm: float = 1.0, mismatch: float = 0.0) -> Update:
    return Update(loss, norm, 1e-6, 0.3, mismatch, 100, mismatch_share=0.5)


def after(
    *rewards: float,
    mismatch: float = 0.0,
    entropy: float = 0.3,
    truncated: float = 0.0,
    steps: int = 3,
) -> Curriculum:
    """A state whose last steps all had these vitals."""
    seen = Vitals(mismatch_kl=mismatch, entropy=entropy, truncated_share=truncated)
    return Curriculum(step=6, rewards=list(rewards), vitals=[seen] * steps)


def reasons(alarms: list[Alarm]) -> list[str]:
    return [alarm.reason for alarm in alarms]


CALM = after(0.6, 0.6, 0.6)


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (1.0, math.inf)])
def test_a_number_that_is_none_ends_a_stage_that_asked_for_no_detector(
    loss: float, norm: float
) -> None:
    (alarm,) = alarms_of(CALM, an_update(loss, norm, math.nan), a_stage())
    assert (alarm.reason, alarm.stops) == ("NotANumber", True)
    assert "step 6" in alarm.message
    with pytest.raises(StageFailure, match="step 3") as stop:
        check_update(an_update(loss, norm), step=3)
    assert stop.value.code is ExitCode.HEALTH_STOP


@pytest.mark.parametrize(
    ("why", "dtype", "kl", "share", "tokens", "other"),
    [
        ("the last bits", "float32", 1e-7, 0.0, 1000, False),
        ("another temperature", "float32", 0.012, 0.05, 1000, True),
        ("rounding", "bfloat16", 0.002, 0.004, 10**7, False),
        ("another temperature, at size", "bfloat16", 0.012, 0.04, 10**6, True),
        ("another temperature, small", "bfloat16", 0.012, 0.05, 1000, True),
        ("so few that it may be chance", "bfloat16", 0.012, 0.05, 40, False),
        ("all of few", "bfloat16", 0.2, 1.0, 20, True),
        ("one token of a few", "bfloat16", 0.2, 0.01, 100, False),
        ("overflow", "bfloat16", math.inf, 0.5, 1000, True),
    ],
)
def test_a_sampler_that_is_another_model_is_told_from_rounding(
    why: str, dtype: str, kl: float, share: float, tokens: int, other: bool
) -> None:
    update = Update(0.1, 1.0, 1e-6, 0.3, kl, tokens, mismatch_share=share)
    alarms = alarms_of(CALM, update, a_stage(dtype))
    assert reasons(alarms) == (["SamplerMismatch"] if other else []), why


@pytest.mark.parametrize(
    ("step", "code"), [(1, ExitCode.BAD_CONFIGURATION), (2, ExitCode.HEALTH_STOP)]
)
def test_a_mismatch_of_the_first_step_is_a_wrong_set_up(step: int, code: ExitCode) -> None:
    state = CALM.model_copy(update={"step": step})
    with pytest.raises(StageFailure, match="from another model") as stop:
        end_if_unhealthy(alarms_of(state, an_update(mismatch=0.2), a_stage()))
    assert stop.value.code is code


def test_a_windows_mismatch_is_a_mean_over_its_tokens() -> None:
    """A step of few tokens, of which one was very unlikely, says little."""
    odd = Vitals(mismatch_kl=0.5, entropy=0.3, truncated_share=0.0, tokens=10)
    calm = Vitals(mismatch_kl=0.001, entropy=0.3, truncated_share=0.0, tokens=1000)
    stage = a_stage(maxMismatchKl=0.01)
    assert alarms_of(Curriculum(step=6, vitals=[odd, calm, calm]), an_update(), stage) == []
    assert reasons(alarms_of(Curriculum(step=6, vitals=[odd] * 3), an_update(), stage))
    none = odd.model_copy(update={"mismatch_kl": 0.0, "tokens": 0.0})  # no group had a signal
    assert alarms_of(Curriculum(step=6, vitals=[none] * 3), an_update(), stage) == []


def test_who_weighs_tokens_by_the_ratio_may_train_with_another_model() -> None:
    stage = a_stage(loss={"importanceCap": 2})
    assert alarms_of(CALM, an_update(mismatch=0.2), stage) == []


def test_a_collapse_is_seen_once_the_window_is_full() -> None:
    stage = a_stage(maxRewardDrop=0.5)
    assert alarms_of(after(0.6, 0.6, 0.6, 0.2, 0.2), an_update(), stage) == []
    (alarm,) = alarms_of(after(0.6, 0.6, 0.6, 0.2, 0.2, 0.2), an_update(), stage)
    assert alarm.reason == "RewardCollapse"
    assert "fell to 0.200 from 0.600" in alarm.message


@pytest.mark.parametrize("start", [[0.0] * 3, [0.01, 0.0, 0.01], [0.1, 0.0, 0.0]], ids=str)
def test_a_low_start_is_no_collapse(start: list[float]) -> None:
    """Not while it lasts, and not as what a rise is held against."""
    stage, risen = a_stage(maxRewardDrop=0.5), [0.3, 0.5, 0.6]
    for rewards in ([0.0] * 6, [*start, *risen], [*start, *risen, 0.5, 0.4, 0.4]):
        assert alarms_of(after(*rewards), an_update(), stage) == []
    (alarm,) = alarms_of(after(*start, *risen, *start), an_update(), stage)
    assert "from 0.467" in alarm.message, "the best of before, not the first"


def second_code_stage(hard: Callable[[int], float]) -> Iterator[list[str]]:
    """What the detector says after each step of a stage whose solved prompts leave by epochs: 200
    of 300 are easy, and the policy earns `hard(epoch)` on the rest."""
    stage = MathRL.parse({"promptsPerStep": 30, "dropSolved": "perEpoch", "health": {"window": 4}})
    pool, state = prompts(300), Curriculum()
    while state.epoch < 4:
        drawn = state.next_prompts(pool, stage, ("key", 0))
        easy = {p.id: int(p.id[1:]) < 200 for p in drawn}
        reward = fmean(1.0 if easy[p.id] else hard(state.epoch) for p in drawn)
        state = state.after_step(pool, stage, solved=easy, lengths={}, reward=reward)
        yield reasons(alarms_of(state, an_update(), stage))


def test_that_solved_prompts_leave_is_no_collapse_and_hides_none() -> None:
    """Mean rewards are 0.77 in the first epoch and 0.3 in the second: less than half. Epochs have 3
    steps from then on, fewer than the window, so that a fall is seen across them."""
    assert not any(second_code_stage(lambda epoch: 0.3))
    fell = list(second_code_stage(lambda epoch: 0.3 if epoch < 2 else 0.05))
    assert ["RewardCollapse"] in fell
    assert not any(fell[:13]), "two epochs, of 10 and of 3 steps"


def test_those_who_stay_are_held_against_what_they_earned_before() -> None:
    rest = rest_of([0.1, 0.8, 0.6], 2, [True, False])
    assert (rest.since, rest.reward) == (3, pytest.approx(0.4))
    state = Curriculum(rewards=[0.1, 0.8, 0.6, 0.3], rest=rest)
    assert state.comparable_rewards(2) == pytest.approx([0.4] * 4 + [0.3])
    nobody = Curriculum(rewards=[0.1, 1.0, 1.0, 0.3], rest=rest_of([0.1, 1.0, 1.0], 2, [True]))
    assert nobody.comparable_rewards(2) == [0.3]


LIMITS = [
    ({"maxMismatchKl": 0.01}, {"mismatch": 0.02}, {"mismatch": 0.005}, "SamplerMismatch"),
    ({"entropy": {"min": 0.1}}, {"entropy": 0.05}, {"entropy": 0.3}, "EntropyOutOfBand"),
    ({"entropy": {"max": 0.5}}, {"entropy": 0.6}, {"entropy": 0.3}, "EntropyOutOfBand"),
    ({"maxTruncatedShare": 0.4}, {"truncated": 0.5}, {"truncated": 0.3}, "TooManyTruncated"),
]
EACH = pytest.mark.parametrize(("limit", "sick", "well", "reason"), LIMITS, ids=str)


@EACH
def test_a_windows_mean_beyond_its_limit_is_seen(
    limit: dict[str, Any], sick: dict[str, Any], well: dict[str, Any], reason: str
) -> None:
    stage = a_stage(**limit)
    assert alarms_of(after(0.6, **well), an_update(), stage) == []
    (alarm,) = alarms_of(after(0.6, **sick), an_update(), stage)
    assert (alarm.reason, alarm.stops) == (reason, True)
    assert "last 3 steps, at step 6" in alarm.message


@EACH
def test_no_limit_holds_before_the_window_is_full_or_where_none_is_set(
    limit: dict[str, Any], sick: dict[str, Any], well: dict[str, Any], reason: str
) -> None:
    assert alarms_of(after(0.6, **sick, steps=2), an_update(), a_stage(**limit)) == []
    assert alarms_of(after(0.6, **sick), an_update(), a_stage(maxRewardDrop=0.5)) == []


def test_what_the_stage_file_says_goes_on_is_told_and_ends_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stage = a_stage(entropy={"min": 0.1}, maxTruncatedShare=0.4, goOn=["entropy", "truncation"])
    alarms = alarms_of(after(0.6, entropy=0.01, truncated=0.9), an_update(), stage)
    end_if_unhealthy(alarms)
    said = capsys.readouterr().err
    assert "EntropyOutOfBand" in said
    assert "TooManyTruncated" in said


def test_what_ends_the_attempt_is_the_first_that_may_not_go_on() -> None:
    stage = a_stage(entropy={"min": 0.1}, maxTruncatedShare=0.4, goOn=["entropy"])
    alarms = alarms_of(after(0.6, entropy=0.01, truncated=0.9), an_update(), stage)
    with pytest.raises(StageFailure) as stop:
        end_if_unhealthy(alarms)
    assert (stop.value.code, stop.value.reason) == (ExitCode.HEALTH_STOP, "TooManyTruncated")


def test_each_detector_that_looks_has_a_metric_of_its_own() -> None:
    assert as_metrics([], a_stage()) == {"alarm_number": 0.0, "alarm_mismatch": 0.0}
    stage = a_stage(entropy={}, goOn=["entropy"])
    alarms = alarms_of(after(0.6, entropy=9.0), an_update(), stage)
    assert as_metrics(alarms, stage) == {
        "alarm_number": 0.0,
        "alarm_mismatch": 0.0,
        "alarm_reward": 0.0,
        "alarm_entropy": 1.0,
    }


def test_only_what_is_looked_for_can_be_told_to_go_on() -> None:
    with pytest.raises(ValidationError, match="truncation is looked for only where"):
        a_stage(goOn=["truncation"])
    assert a_stage(goOn=["reward"]).health is not None


def test_a_band_has_a_lower_and_an_upper_end() -> None:
    with pytest.raises(ValidationError, match=r"0\.9 is not below max 0\.5"):
        a_stage(entropy={"min": 0.9, "max": 0.5})


def test_a_state_remembers_the_vitals_of_a_window_and_no_more() -> None:
    stage = MathRL.parse({"health": {"window": 2}})
    state = Curriculum()
    for step in range(4):
        seen = Vitals(mismatch_kl=0.0, entropy=float(step), truncated_share=0.0)
        state = state.after_step([], stage, solved={}, lengths={}, reward=0.5, vitals=seen)
    assert [v.entropy for v in state.vitals] == [2.0, 3.0]
    assert Curriculum.parse(state.dump()) == state
