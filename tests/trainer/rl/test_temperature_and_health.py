"""The entropy rule, and the two ways in which a stage is stopped for its own good."""

import math

import pytest
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.rl import EntropyTarget, HealthStop
from acereason_trainer.policy.health import check_update
from acereason_trainer.policy.protocol import Update
from acereason_trainer.rl.health import check_rewards
from acereason_trainer.rl.temperature import Probe, choose_temperature
from acereason_trainer.stage import StageFailure

PAPER = [Probe(0.6, 0.15, 0.62), Probe(0.85, 0.26, 0.62), Probe(1.0, 0.40, 0.58)]


def test_the_papers_three_temperatures_give_the_papers_choice():
    assert choose_temperature(PAPER, EntropyTarget(entropy=0.3)) == 0.85


def test_a_temperature_that_costs_reward_is_left_out():
    probes = [Probe(0.6, 0.1, 0.6), Probe(1.0, 0.3, 0.5)]
    assert choose_temperature(probes, EntropyTarget(max_reward_loss=0.03)) == 0.6
    assert choose_temperature(probes, EntropyTarget(max_reward_loss=0.2)) == 1.0


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (1.0, math.inf)])
def test_a_number_that_is_none_is_a_health_stop(loss: float, norm: float):
    with pytest.raises(StageFailure, match="step 3") as stop:
        check_update(Update(loss, norm, 1e-6, 0.0, 0.0, 1), step=3)
    assert stop.value.code is ExitCode.HEALTH_STOP


def test_a_collapse_is_seen_once_the_window_is_full():
    settings = HealthStop(window=3, max_reward_drop=0.5)
    good, bad = [0.6] * 3, [0.2] * 3
    check_rewards([*good, 0.2, 0.2], settings)
    with pytest.raises(StageFailure, match=r"fell to 0\.200 from 0\.600"):
        check_rewards([*good, *bad], settings)


def test_a_low_start_is_no_collapse():
    check_rewards([0.0] * 10, HealthStop(window=3))
