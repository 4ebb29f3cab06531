"""Which prompts come next, and when a stage ends."""

from collections import Counter
from statistics import fmean, stdev

import pytest
from acereason_trainer.config.rl import MathRL
from acereason_trainer.dataset import Row
from acereason_trainer.rl.curriculum import Curriculum, Measured, is_flat, is_gain, planned_steps
from acereason_trainer.rl.prompts import Prompt
from acereason_trainer.rl.rollouts import requests_for
from hypothesis import given
from hypothesis import strategies as st


def prompts(n: int) -> list[Prompt]:
    return [Prompt(Row(id=f"p{i}", data={"problem": f"p{i}"}), (1, 2)) for i in range(n)]


def a_stage(**settings: object) -> MathRL:
    return MathRL.parse({"promptsPerStep": 4, **settings})


def after(state: Curriculum, stage: MathRL, n: int, right: tuple[str, ...] = ()) -> Curriculum:
    """One step further, in which exactly the named prompts were all right."""
    ids = [p.id for p in state.next_prompts(prompts(n), stage, ("k", 0))]
    return state.after_step(
        prompts(n),
        stage,
        solved={i: i in right for i in ids},
        lengths=dict.fromkeys(ids, 10.0),
        reward=0.5,
    )


def walk(stage: MathRL, n: int, steps: int, right: tuple[str, ...] = ()) -> list[Curriculum]:
    states = [Curriculum()]
    for _ in range(steps):
        states.append(after(states[-1], stage, n, right))
    return states


@given(n=st.integers(1, 40), epochs=st.integers(1, 3))
def test_no_prompt_comes_twice_in_an_epoch_and_every_batch_is_full(n: int, epochs: int):
    stage = a_stage()
    state, seen = Curriculum(), Counter()
    while state.epoch < epochs:
        epoch = state.epoch
        batch = state.next_prompts(prompts(n), stage, ("k", 0))
        assert len(batch) == min(4, n)
        seen.update((epoch, p.id) for p in batch)
        state = after(state, stage, n)
    assert set(seen.values()) == {1}
    assert len(seen) == epochs * (n if n < 4 else n // 4 * 4)


def test_each_epoch_has_its_own_order_and_a_salt_another():
    stage = a_stage()
    first, second = Curriculum(), Curriculum(epoch=1)

    def order(state: Curriculum, salt: int) -> list[str]:
        return [p.id for p in state.next_prompts(prompts(40), stage, ("k", salt))]

    assert order(first, 0) == order(first, 0)
    assert order(first, 0) != order(second, 0)
    assert order(first, 0) != order(first, 1)


def test_per_epoch_lists_stay_at_their_last_value():
    stage = a_stage(temperature={"perEpoch": [0.6, 1.0]}, groupSize={"perEpoch": [8, 16]})
    assert [Curriculum(epoch=e).temperature_now(stage) for e in range(4)] == [0.6, 1.0, 1.0, 1.0]
    assert [Curriculum(epoch=e).group_size_now(stage) for e in range(3)] == [8, 16, 16]


def test_solved_prompts_leave_after_the_epoch_and_not_before():
    stage = a_stage(dropSolved="perEpoch")
    states = walk(stage, n=8, steps=3, right=("p1", "p2"))
    assert states[1].dropped == []
    assert set(states[2].dropped) == {"p1", "p2"}
    assert {p.id for p in states[2].active(prompts(8))} == {f"p{i}" for i in (0, 3, 4, 5, 6, 7)}


def test_a_prompt_that_stands_twice_leaves_only_if_all_its_rollouts_were_right():
    stage, twice = a_stage(dropSolved="perEpoch", promptsPerStep=1), [*prompts(1), *prompts(1)]
    state = Curriculum()
    for right in (True, False):
        state = state.after_step(twice, stage, solved={"p0": right}, lengths={}, reward=0.5)
    assert state.epoch == 1 and state.dropped == []


def test_a_stage_that_has_solved_everything_ends():
    stage = a_stage(dropSolved="perEpoch", stop={"steps": 99})
    states = walk(stage, n=4, steps=1, right=("p0", "p1", "p2", "p3"))
    assert [state.finished(prompts(4), stage) for state in states] == [False, True]


@pytest.mark.parametrize(
    ("stop", "state", "ends"),
    [
        ({"steps": 3}, Curriculum(step=2), False),
        ({"steps": 3}, Curriculum(step=3), True),
        ({"epochs": 2}, Curriculum(step=9, epoch=1), False),
        ({"epochs": 2}, Curriculum(step=9, epoch=2), True),
    ],
)
def test_a_stage_ends_by_its_own_rule(stop: dict[str, int], state: Curriculum, ends: bool):
    assert state.finished(prompts(4), a_stage(stop=stop)) is ends


def m(accuracy: float) -> Measured:
    return Measured(step=0, accuracy=accuracy, stderr=0.02)


@pytest.mark.parametrize(
    ("accuracies", "flat", "why"),
    [
        ([0.5, 0.51, 0.5], True, "gains within one standard error are no gains"),
        ([0.5, 0.51, 0.55], False, "the last one gained"),
        ([0.5, 0.4], False, "only one without gain"),
        ([], False, "nothing measured"),
        ([0.5, 0.55, 0.5, 0.5], True, "two after the best"),
    ],
)
def test_a_plateau_is_patience_without_gain(accuracies: list[float], flat: bool, why: str):
    assert is_flat([m(a) for a in accuracies], patience=2) is flat, why


def measured(scores: list[float]) -> Measured:
    spread = stdev(scores) / len(scores) ** 0.5
    by_problem = {f"p{i}": score for i, score in enumerate(scores)}
    return Measured(step=0, accuracy=fmean(scores), stderr=spread, scores=by_problem)


def test_a_gain_is_seen_problem_by_problem():
    """Hard and easy problems: the accuracy's own standard error is 9 points, the gain's is 2."""
    first = measured([0.0, 0.25, 0.75, 1.0] * 5)
    one_more = measured([0.25, 0.25, 0.75, 1.0] * 5)
    elsewhere = measured([0.25, 0.0, 1.0, 0.75] * 5)
    assert is_gain(one_more, first) and one_more.accuracy < first.accuracy + first.stderr
    assert not is_gain(elsewhere, first), "as many gains as losses"
    assert not is_flat([first, one_more], patience=1)
    assert is_flat([first, elsewhere], patience=1)


def test_the_state_survives_json():
    state = walk(a_stage(dropSolved="perEpoch"), n=8, steps=3, right=("p1",))[-1]
    assert Curriculum.parse(state.dump()) == state


def test_planned_steps_follow_the_stop_rule():
    assert planned_steps(10, a_stage(stop={"epochs": 3})) == 6
    assert planned_steps(10, a_stage(stop={"steps": 7})) == 7


def test_a_prompt_that_stands_twice_in_a_step_draws_different_responses():
    one = prompts(1)[0]
    requests = requests_for([one, one], 2, ("k", 0, "rollout", 1))
    assert [r.sample for r in requests] == [0, 1, 2, 3]
    assert len({r.seed for r in requests}) == 4
