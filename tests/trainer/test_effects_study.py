"""The study of the papers' effects: what its own policy does, and what is told of a difference."""

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch
from acereason_trainer.config.common import ModelLoading
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.sft import Optimizer
from acereason_trainer.policy.protocol import Batch, Policy, Update, Weights
from acereason_trainer.policy.torch_policy import TorchPolicy
from acereason_trainer.rl import loop
from acereason_trainer.telemetry.recorder import read_metrics

from benchmarks.effects import outcomes_of
from benchmarks.effects_arms import Outcome, number_of
from benchmarks.effects_list import STEPS, common_settings, effects
from benchmarks.effects_page import plot, told, verdict
from benchmarks.effects_updates import (
    PASSED_ON,
    SeveralUpdates,
    clipped,
    parts_of,
    several_updates,
)
from tests.stage_attempts import attempt, published
from tests.trainer.test_several_ranks import a_prepared_stage


class Watched:
    """A policy that remembers the batches of its steps."""

    def __init__(self, policy: TorchPolicy) -> None:
        self._policy = policy
        self.batches: list[Batch] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def step(self, batch: Batch) -> Update:
        self.batches.append(batch)
        return self._policy.step(batch)


@pytest.fixture
def policy(tiny_model: Path) -> Watched:
    return Watched(
        TorchPolicy(
            tiny_model,
            loading=ModelLoading(dtype="float32"),
            optimizer=Optimizer(learning_rate=1e-3),
            total_steps=None,
            tokens_per_micro_batch=256,
        )
    )


def a_batch(model: Any) -> Batch:
    """Four responses of three tokens, as the model of now would have drawn them."""
    sequences = [[5, 6, 7, 8 + n] for n in range(4)]
    with torch.no_grad():
        log_p = torch.log_softmax(model(torch.tensor(sequences)).logits, -1)
    sampled = [log_p[n, range(3), sequences[n][1:]] for n in range(4)]
    weights = [torch.full((3,), w) for w in (0.1, -0.1, 0.1, -0.1)]
    return Batch(sequences, [1] * 4, weights, sampler_logprobs=sampled)


def test_the_first_part_is_on_policy_and_the_second_is_not(policy: Watched) -> None:
    batch = a_batch(policy.model)
    SeveralUpdates(policy, 2).step(batch)
    first, second = policy.batches
    assert [len(first.sequences), len(second.sequences)] == [2, 2]
    # Each part weighs as the whole does, and p now / p then is 1 before the first step.
    torch.testing.assert_close(first.token_weights[0], 2 * batch.token_weights[0])
    assert not torch.allclose(second.token_weights[0], 2 * batch.token_weights[2])


def test_a_batch_without_a_signal_is_one_step(policy: Watched) -> None:
    empty = Batch([], [], [], sampler_logprobs=[])
    update = SeveralUpdates(policy, 4).step(empty)
    assert (len(policy.batches), update.tokens) == (1, 0)


@pytest.mark.parametrize("sequences", [1, 3, 5, 8])
def test_parts_weigh_as_the_whole_does_however_many_there_are(sequences: int) -> None:
    weights = [torch.full((2,), 1 / (2 * sequences)) for _ in range(sequences)]
    logprobs = [torch.zeros(2)] * sequences
    batch = Batch([[5, 6, 7]] * sequences, [1] * sequences, weights, sampler_logprobs=logprobs)
    parts = list(parts_of(batch, 4))
    assert len(parts) == min(4, sequences)
    assert sum(len(p.sequences) for p in parts) == sequences
    for part in parts:
        assert sum(float(w.sum()) for w in part.token_weights) == pytest.approx(1.0)


def test_what_no_policy_is_asked_for_is_not_the_inner_ones_to_answer(policy: Watched) -> None:
    of_both = {**vars(Weights), **vars(Policy)}
    asked = {name for name in of_both if not name.startswith("_")}
    assert {*PASSED_ON, "step", "steps"} == asked
    with pytest.raises(AttributeError, match="update is nothing that the loop asks"):
        _ = SeveralUpdates(policy, 2).update


def test_a_stage_that_had_its_policy_from_elsewhere_is_no_arm() -> None:
    with pytest.raises(RuntimeError, match="0 optimizer steps were taken"), several_updates(4):
        pass
    with several_updates(1):
        pass


def test_steps_that_were_not_taken_are_no_arm(
    policy: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "make_policy", lambda: policy)
    monkeypatch.setattr("benchmarks.effects_updates.parts_of", lambda batch, _: [batch])
    with (
        pytest.raises(RuntimeError, match=r"1 optimizer steps were taken where 2 .* make 2"),
        several_updates(2),
    ):
        made: Any = loop
        made.make_policy().step(a_batch(policy.model))


def test_a_metric_that_is_no_number_is_no_curve() -> None:
    assert number_of({"step": 3.0, "reward": 0.0}, "reward") == 0.0
    with pytest.raises(RuntimeError, match="step 3: reward is no number"):
        number_of({"step": 3, "reward": None}, "reward")


def test_what_ppo_would_clip_weighs_nothing() -> None:
    weights = torch.tensor([1.0, 1.0, 1.0, -1.0, -1.0, -1.0])
    ratio = torch.tensor([1.3, 1.1, 0.5, 1.5, 0.9, 0.7])
    kept = torch.tensor([0.0, 1.1, 0.5, -1.5, -0.9, 0.0])
    torch.testing.assert_close(clipped(weights, ratio.log()), kept)


@pytest.mark.parametrize(
    ("low", "high", "expected", "said"),
    [
        (0.1, 0.3, "higher", "higher, as in the papers"),
        (-0.3, -0.1, "higher", "lower: not so"),
        (-0.1, 0.3, "higher", "not decided: the interval holds 0"),
        (-0.3, -0.1, None, "lower; the papers compare nothing"),
    ],
)
def test_a_direction_is_said_only_where_the_interval_leaves_0_out(
    low: float, high: float, expected: str | None, said: str
) -> None:
    found = {"mean": (low + high) / 2, "low": low, "high": high, "expected": expected}
    assert verdict(found) == said


def test_every_effect_has_arms_to_compare_and_a_plot() -> None:
    for effect in effects().values():
        assert {arm for c in effect.comparisons for arm in (c.a, c.b)} == set(effect.arms)
        arms = {name: {"curves": [[0.1, 0.2], [0.3, 0.2]]} for name in effect.arms}
        drawn = plot({"name": effect.name, "curve": effect.curve, "arms": arms})
        assert all(name in drawn for name in effect.arms)


def test_an_arm_takes_as_many_optimizer_steps_with_one_for_each_batch() -> None:
    arms = effects()["updates"].arms
    assert arms["one for longer"]["stop"]["steps"] == STEPS * arms["four"]["updates"]
    same = {name: arms["four"][name] for name in arms["one"]}
    assert same == dict(arms["one"])
    assert {name: arms["one for longer"][name] for name in same} == same


def test_one_failed_arm_is_named_and_the_others_are_there() -> None:
    done, failed = Future[Outcome](), Future[Outcome]()
    done.set_result(Outcome({}, 50.0, 1.0))
    failed.set_exception(RuntimeError("stage rl-1 ended with 1"))
    found, errors = outcomes_of({"a": [done, failed], "b": [done, done]})
    assert [len(outcomes) for outcomes in found.values()] == [1, 2]
    assert errors == ["a, seed 1: stage rl-1 ended with 1"]


def test_the_page_says_what_differs_from_the_quickstart_and_how_much_was_compared() -> None:
    told_of = {}
    for effect in effects().values():
        ends = {end: [0.5, 0.5] for end in ("accuracy", "entropy", "reward", "temperature")}
        ends["entropyAtStart"] = [0.25, 0.35]
        curves = {"curves": [[0.14, 0.3], [0.16, 0.4]]}
        told_of[effect.name] = {
            **{f: getattr(effect, f) for f in ("name", "title", "claim", "note", "curve")},
            "settings": {"common": common_settings(), "arms": effect.arms},
            "arms": dict.fromkeys(effect.arms, ends | curves),
            "comparisons": [
                {"a": c.a, "b": c.b, "metric": c.metric, "expected": c.expected}
                | {"mean": 0.0, "low": -1.0, "high": 1.0}
                for c in effect.comparisons
            ],
        }
    page = told({"effects": told_of})
    assert page[-1].startswith("10 comparisons were made, and nothing is corrected")
    text = "\n".join(page)
    assert "`maxResponseTokens` 36" in text
    assert '`overlong` {"mode": "mask"}' in text
    assert "nearly so by construction" in text
    assert "| 0.300 to 0.500 |" in text
    cut = "cut at the first step: penalize 0.15, mask 0.15; in the papers about 0.3."
    assert [cut in part for part in page].count(True) == 1


@pytest.mark.usefixtures("importable_rewards")
def test_a_stage_takes_several_updates_of_a_batch_as_one_step(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trainer holds a policy to one step for each batch."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    changed = {"stop": {"steps": 2}, "overlong": {"mode": "penalize"}}  # both steps have a signal
    stage = a_prepared_stage(tmp_path, tiny_model, "mathRL", 1, **changed)
    with several_updates(3) as policies:
        assert attempt(stage) == ExitCode.DONE
    assert [policy.taken for policy in policies] == [2 * 3]
    assert [row["step"] for row in read_metrics(published(stage)[1] / "metrics.jsonl")] == [1, 2]
