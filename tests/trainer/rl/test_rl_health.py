"""What the detectors see, what they say, and what ends an attempt."""

import math
from typing import Any

import pytest
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.rl import MathRL
from acereason_trainer.policy.health import check_update
from acereason_trainer.policy.protocol import Update
from acereason_trainer.rl.curriculum import Curriculum, Vitals
from acereason_trainer.rl.health import Alarm, alarms_of, as_metrics, end_if_unhealthy
from acereason_trainer.stage import StageFailure
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
    ("dtype", "mismatch", "other"),
    [
        ("float32", 1e-6, False),
        ("float32", 0.01, True),
        ("bfloat16", 0.01, False),
        ("bfloat16", 0.2, True),
        ("bfloat16", math.inf, True),
    ],
)
def test_a_sampler_that_is_another_model_ends_any_stage(
    dtype: str, mismatch: float, other: bool
) -> None:
    alarms = alarms_of(CALM, an_update(mismatch=mismatch), a_stage(dtype))
    assert reasons(alarms) == (["SamplerMismatch"] if other else [])


def test_who_weighs_tokens_by_the_ratio_may_train_with_another_model() -> None:
    stage = a_stage(loss={"importanceCap": 2})
    assert alarms_of(CALM, an_update(mismatch=0.2), stage) == []


def test_a_collapse_is_seen_once_the_window_is_full() -> None:
    stage = a_stage(maxRewardDrop=0.5)
    assert alarms_of(after(0.6, 0.6, 0.6, 0.2, 0.2), an_update(), stage) == []
    (alarm,) = alarms_of(after(0.6, 0.6, 0.6, 0.2, 0.2, 0.2), an_update(), stage)
    assert alarm.reason == "RewardCollapse"
    assert "fell to 0.200 from 0.600" in alarm.message


def test_a_low_start_is_no_collapse() -> None:
    assert alarms_of(after(*[0.0] * 10), an_update(), a_stage(maxRewardDrop=0.5)) == []


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
