"""TRL's reward in the contest is a comparison of text: it must be what our verifier would give."""

import random

from acereason_trainer.config.common import Verifier
from acereason_trainer.rewards.rewarder import make_rewarder

from benchmarks.peers.boxed import boxed
from examples.tasks.word_problems import Numbers, Style, draw_skeleton, tell, worked_answer

STYLES: tuple[Style, ...] = ("hasty", "brief")
NUMBERS = Numbers(start=(2, 20), largest_amount=9, largest_value=60)
SAID = {
    "right": "<think>\n3 + 4 = 7\n</think>\n\n\\boxed{7}",
    "right, with room": "<think></think>\\boxed{ 7 }",
    "the last box counts": "<think></think>\\boxed{6} no, \\boxed{7}",
    "another number": "<think></think>\\boxed{8}",
    "an early guess": "<think></think>\\boxed{7} or \\boxed{8}",
    "a draft alone": "<think>\\boxed{7}</think>",
    "reasoning that never ends": "<think>3 + 4 = 7 \\boxed{7}",
    "no box": "<think></think>7",
    "a box that is never closed": "<think></think>\\boxed{7} \\boxed{7",
    "an empty box": "<think></think>\\boxed{}",
    "below zero": "<think></think>\\boxed{-7}",
}


def quickstart_answers() -> list[str]:
    rng = random.Random("answers")
    problems = [tell(rng, draw_skeleton(rng, 2, NUMBERS)) for _ in range(20)]
    return [worked_answer(p, style) for p in problems for style in STYLES]


def test_both_trainers_give_one_reward() -> None:
    rewarder = make_rewarder("math", Verifier(service="local", workers=1))
    responses = [*SAID.values(), *quickstart_answers()]
    asked = [(said, answer) for said in responses for answer in ("7", "-7", boxed(said) or "12")]
    try:
        grades = [rewarder.submit({"answer": answer}, said) for said, answer in asked]
        ours = [future.result(120).reward for future in grades]
    finally:
        rewarder.close()
    theirs = [float(boxed(said) == answer) for said, answer in asked]
    assert [a for a, o, t in zip(asked, ours, theirs, strict=True) if o != t] == []
    assert set(ours) == {0.0, 1.0}
