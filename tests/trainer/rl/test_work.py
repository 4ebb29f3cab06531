"""What is counted as a step's work: every response, each group's prompt once, what is trained."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from acereason_trainer.config.rl import MathRL
from acereason_trainer.peers import ALONE, Peers
from acereason_trainer.policy.flops import Arithmetic, Machinery
from acereason_trainer.policy.protocol import Update
from acereason_trainer.rl.batches import advantages_of, assemble, masked
from acereason_trainer.rl.measure import measure
from acereason_trainer.rl.rollouts import Means, collect
from acereason_trainer.rl.work import work_of
from acereason_trainer.rollout.protocol import SamplingParams
from made_up_rollouts import (
    Beside,
    Checks,
    Clock,
    Draws,
    DrawsInTime,
    a_recorder,
    groups,
    prompts,
)

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


def test_what_was_read_from_a_journal_is_no_work_of_this_step() -> None:
    first, second = STEP.groups
    recalled = [replace(r, completion=replace(r.completion, recalled=True)) for r in first]
    half = replace(STEP, groups=[recalled, second])
    batch = assemble(half, advantages_of(half, STAGE), STAGE, 1.0)
    machinery = Machinery(1, Arithmetic(weights=10, attention=0), 1e12)
    work = work_of(half, batch, machinery)
    assert work.tokens == 2 * (2 + 4)
    assert work.flops == pytest.approx(20 * (2 + 2 * 4 + 3 * 2 * 6))


def test_what_was_read_from_a_journal_was_not_generated_by_this_step() -> None:
    """Its tokens would make a rate that no device has."""
    first, second = STEP.groups
    recalled = [replace(r, completion=replace(r.completion, recalled=True)) for r in first]
    rates = []
    for step in (STEP, replace(STEP, groups=[recalled, second])):
        advantages = advantages_of(step, STAGE)
        update = Update(0.0, 0.0, 0.0, 0.0, 0.0, tokens=8)
        metrics = measure(step, advantages, masked(step, STAGE), update)
        rates.append(metrics["generated_tokens_per_second"])
    assert rates == [4 * 4 / 1.0, 2 * 4 / 1.0]


def test_without_an_account_there_is_no_arithmetic() -> None:
    batch = assemble(STEP, advantages_of(STEP, STAGE), STAGE, 1.0)
    assert work_of(STEP, batch, Machinery(1, None, None)).flops is None


@pytest.mark.parametrize(("the_other_draws", "share"), [(False, 1.0), (True, 0.5)])
def test_a_device_whose_rank_lends_it_to_anothers_engine_is_as_busy_as_that(
    tmp_path: Path, the_other_draws: bool, share: float
) -> None:
    peers = Beside(draws=the_other_draws)  # it returns at once
    with a_recorder(tmp_path) as recorder:
        by = Means(Draws(), Checks(lambda *_: 1), recorder, lambda: None, peers=peers)
        params = SamplingParams(1.0, 1.0, 8)
        drawn = collect(prompts(2), 2, params, name=("step", 1), expected={}, by=by)
    assert drawn.drawing_seconds == pytest.approx(share * drawn.generate_seconds)
    assert drawn.generate_seconds > 0


@pytest.mark.parametrize(
    ("peers", "tail", "whole"),
    [
        (ALONE, 10 - 9, 10),
        (Beside(times=[2.0 * n for n in range(1, 11)], seconds=20.0), 20 - 16, 20),
    ],
    ids=["one rank", "beside a slower one"],
)
def test_the_tail_is_from_nine_in_ten_responses_of_all_ranks_to_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, peers: Peers, tail: float, whole: float
) -> None:
    """This rank's responses end after 1, 2, ... 10 seconds."""
    clock = Clock(monkeypatch)
    with a_recorder(tmp_path) as recorder:
        sampler = DrawsInTime(clock, 1.0)
        by = Means(sampler, Checks(lambda *_: 1), recorder, lambda: None, peers=peers)
        params = SamplingParams(1.0, 1.0, 8)
        drawn = collect(prompts(5), 2, params, name=("step", 1), expected={}, by=by)
    assert (drawn.tail_seconds, drawn.generate_seconds) == (tail, whole)


def test_the_longest_expected_is_drawn_first_and_what_is_not_known_before_it(
    tmp_path: Path,
) -> None:
    sampler = Draws()
    with a_recorder(tmp_path) as recorder:
        by = Means(sampler, Checks(lambda prompt, sample: 1.0), recorder, lambda: None)
        params = SamplingParams(temperature=1.0, top_p=1.0, max_tokens=1)
        expected = {"p0": 5.0, "p1": 50.0, "p3": 20.0}
        drawn = collect(prompts(4), 1, params, name=("step", 1), expected=expected, by=by)
    (asked,) = sampler.asked
    assert [request.prompt_id for request in asked] == ["p2", "p1", "p3", "p0"]
    ordered = [group[0].completion.request.prompt_id for group in drawn.groups]
    assert ordered == ["p0", "p1", "p2", "p3"], "groups are in the order of the prompts"


def test_what_the_stage_has_not_drawn_yet_is_as_long_as_its_row_says(tmp_path: Path) -> None:
    """A refilter's attempts come before the teacher's answers: they are the model's own."""
    columns: list[dict[str, Any]] = [
        {"teacher_tokens": 900},
        {"teacher_tokens": 10, "response_tokens": 70.5},
        {},
        {"teacher_tokens": 8},
        {"teacher_tokens": "long", "response_tokens": None},
    ]
    asked_for = [
        replace(p, row=replace(p.row, data={**p.row.data, **more}))
        for p, more in zip(prompts(5), columns, strict=True)
    ]
    sampler = Draws()
    with a_recorder(tmp_path) as recorder:
        by = Means(sampler, Checks(lambda *_: 1), recorder, lambda: None)
        params = SamplingParams(1.0, 1.0, 8)
        collect(asked_for, 1, params, name=("step", 1), expected={"p0": 50.0}, by=by)
    (asked,) = sampler.asked
    assert [request.prompt_id for request in asked] == ["p2", "p4", "p1", "p0", "p3"]
