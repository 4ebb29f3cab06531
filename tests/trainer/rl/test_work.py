"""What is counted as a step's work: every response, each group's prompt once, what is trained."""

import pytest
from acereason_trainer.config.rl import MathRL
from acereason_trainer.policy.flops import Arithmetic
from acereason_trainer.rl.batches import advantages_of, assemble
from acereason_trainer.rl.work import Machinery, work_of
from made_up_rollouts import groups

STAGE = MathRL.parse({"groupSize": {"fixed": 2}})
STEP = groups([1, 0], [0, 0])


def test_all_that_was_drawn_and_what_of_it_is_trained_is_work() -> None:
    a = Arithmetic(weights=10, attention=0)
    batch = assemble(STEP, advantages_of(STEP, STAGE), STAGE, 1.0)
    work = work_of(STEP, batch, Machinery(2, a, 1e12))
    assert work.tokens == 4 * (2 + 4)
    prompts, responses, trained = 2 * 2, 4 * 4, 2 * 6
    assert work.flops == pytest.approx(20 * (prompts + responses + 3 * trained))
    assert (work.devices, work.peak_flops) == (2, 1e12)


def test_without_an_account_there_is_no_arithmetic() -> None:
    batch = assemble(STEP, advantages_of(STEP, STAGE), STAGE, 1.0)
    assert work_of(STEP, batch, Machinery(1, None, None)).flops is None
