"""What is drawn beside the steps: when a stage is validated."""

from pathlib import Path
from typing import Any

import pytest
from acereason_trainer.config.rl import MathRL
from acereason_trainer.policy.flops import Machinery
from acereason_trainer.rl.curriculum import Curriculum, Measured
from acereason_trainer.rl.drawing import Drawing
from acereason_trainer.rl.prompts import Problems
from acereason_trainer.rl.rollouts import Means
from made_up_rollouts import Checks, Draws, a_recorder, prompts

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
