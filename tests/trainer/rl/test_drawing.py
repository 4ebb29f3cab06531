"""What is drawn beside the steps: when a stage is validated, and whose seconds that takes."""

from pathlib import Path
from typing import Any

import pytest
from acereason_trainer.config.rl import MathRL
from acereason_trainer.peers import ALONE, Peers
from acereason_trainer.policy.flops import Machinery
from acereason_trainer.rl.batches import advantages_of, assemble
from acereason_trainer.rl.curriculum import Curriculum, Measured
from acereason_trainer.rl.drawing import Drawing
from acereason_trainer.rl.prompts import Problems
from acereason_trainer.rl.rollouts import Means
from made_up_rollouts import (
    Beside,
    Checks,
    ChecksInTime,
    Clock,
    Draws,
    DrawsInTime,
    a_recorder,
    prompts,
)

FLAT = [Measured(step=step, accuracy=0.5, stderr=0.1) for step in (0, 2, 4)]


def a_stage(**settings: Any) -> MathRL:
    told = {
        "promptsPerStep": 2,
        "groupSize": {"fixed": 2},
        "validation": {"everySteps": 2, "samples": 3},
        **settings,
    }
    return MathRL.parse(told)


@pytest.mark.parametrize(
    ("stop", "step", "before", "validated"),
    [
        ({"steps": 5}, 0, [], True),
        ({"steps": 5}, 1, FLAT[:1], False),
        ({"steps": 5}, 4, FLAT[:2], True),
        ({"steps": 5}, 5, FLAT, True),
        ({"epochs": 1}, 5, FLAT, False),
        ({"plateau": {"patience": 9, "maxSteps": 5}}, 5, FLAT, True),
        ({"plateau": {"patience": 9, "maxSteps": 6}}, 5, FLAT, False),
        ({"plateau": {"patience": 2, "maxSteps": 9}}, 4, FLAT, False),
    ],
    ids=["before all steps", "in between", "every so many", "the end", "no end yet",
         "a plateau's last step", "a plateau goes on", "measured already"],
)  # fmt: skip
@pytest.mark.parametrize("checkpoint", ["last", "best"])
def test_the_weights_are_measured_every_so_many_steps_and_at_the_end(
    tmp_path: Path,
    stop: dict[str, Any],
    step: int,
    before: list[Measured],
    validated: bool,
    checkpoint: str,
) -> None:
    stage = a_stage(stop=stop, checkpoint=checkpoint)
    problems = Problems(prompts(4), prompts(3), too_long=0)
    with a_recorder(tmp_path) as recorder:
        means = Means(Draws(), Checks(lambda *_: 1.0), recorder, lambda: None)
        drawing = Drawing(stage, means, ("k", 0), Machinery(1, None, None))
        state = drawing.validate_if_due(Curriculum(step=step, validations=before), problems)
    new = [Measured(step=step, accuracy=1.0, stderr=0.0)] if validated else []
    assert [(v.step, v.accuracy) for v in state.validations] == [
        (v.step, v.accuracy) for v in before + new
    ]


@pytest.mark.parametrize(
    ("peers", "each_drawn"),
    [(ALONE, (40, 180)), (Beside(seconds=20.0), ((40 + 20) / 2, (180 + 20) / 2))],
    ids=["one rank", "beside one that is soon done"],
)
def test_devices_are_idle_while_verdicts_and_slower_ranks_are_waited_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    peers: Peers,
    each_drawn: tuple[float, float],
) -> None:
    """A response takes 10 s and its verdict another 1 s, in the probe and in validation too."""
    of_a_step, of_a_validation = each_drawn
    clock = Clock(monkeypatch)
    entropy = {"candidates": [0.8, 1.0, 1.2], "prompts": 2, "samples": 2}
    stage = a_stage(temperature={"targetEntropy": entropy})
    problems = Problems(prompts(4), prompts(6), too_long=0)
    with a_recorder(tmp_path) as recorder:
        sampler = DrawsInTime(clock, 10.0)
        means = Means(sampler, ChecksInTime(clock, 1.0), recorder, lambda: None, peers=peers)
        drawing = Drawing(stage, means, ("k", 0), Machinery(peers.world, None, None))
        state = drawing.choose_temperature_once(Curriculum(), problems.prompts)
        state = drawing.validate_if_due(state, problems)
        rollouts = drawing.step(state, problems.prompts)
        batch = assemble(rollouts, advantages_of(rollouts, stage), stage, 1.0)
        with recorder.phase("train"):
            clock.now += 26
        drawing.record(state, rollouts, batch, {}, prompts_left=4)
        sampler.version = 1
        after = state.model_copy(update={"step": 1})
        drawing.record(after, drawing.step(after, problems.prompts), batch, {}, prompts_left=4)
    first, second = recorder.rows
    seconds = {name: value for name, value in first.items() if name.endswith("_seconds")}
    assert seconds == {
        "probe_seconds": 120, "probe_wait_seconds": 12,
        "validate_seconds": 180, "validate_wait_seconds": 18,
        "generate_seconds": 40, "reward_wait_seconds": 4,
        "push_seconds": 0, "train_seconds": 26, "step_seconds": 400,
    }  # fmt: skip
    drawn = 3 * of_a_step + of_a_validation + of_a_step
    assert first["idle_share"] == pytest.approx(1 - (drawn + 26) / 400)
    assert second["idle_share"] == pytest.approx(1 - of_a_step / 44), "nor counted again"
