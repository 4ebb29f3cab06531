"""The entropy rule: the candidate nearest to the target, unless it costs reward."""

from acereason_trainer.config.rl import EntropyTarget
from acereason_trainer.rl.curriculum import Curriculum, Probe
from acereason_trainer.rl.drawing import probe_metrics
from acereason_trainer.rl.temperature import choose_temperature, is_vetoed


def a_probe(temperature: float, entropy: float, reward: float) -> Probe:
    return Probe(temperature=temperature, entropy=entropy, reward=reward)


PAPER = [a_probe(0.6, 0.15, 0.62), a_probe(0.85, 0.26, 0.62), a_probe(1.0, 0.40, 0.58)]


def test_the_papers_three_temperatures_give_the_papers_choice() -> None:
    assert choose_temperature(PAPER, EntropyTarget(entropy=0.3)) == 0.85


def test_a_temperature_that_costs_reward_is_left_out() -> None:
    probes = [a_probe(0.6, 0.1, 0.6), a_probe(1.0, 0.3, 0.5)]
    assert choose_temperature(probes, EntropyTarget(max_reward_loss=0.03)) == 0.6
    assert choose_temperature(probes, EntropyTarget(max_reward_loss=0.2)) == 1.0


def test_the_veto_looks_at_the_best_reward_of_all_candidates() -> None:
    target = EntropyTarget(entropy=0.4)
    assert [is_vetoed(p, PAPER, target) for p in PAPER] == [False, False, True]


def test_of_two_that_are_equally_near_the_lower_is_taken() -> None:
    probes = [a_probe(1.0, 0.4, 0.6), a_probe(0.8, 0.2, 0.6)]
    assert choose_temperature(probes, EntropyTarget(entropy=0.3)) == 0.8


def test_the_artifact_says_what_the_temperature_was_chosen_from() -> None:
    state = Curriculum(temperature=0.85, probes=PAPER)
    told = probe_metrics(Curriculum.parse(state.dump()))
    assert told["temperature"] == 0.85
    assert (told["probeEntropy/0.85"], told["probeReward/1"]) == (0.26, 0.58)
    assert probe_metrics(Curriculum()) == {}
