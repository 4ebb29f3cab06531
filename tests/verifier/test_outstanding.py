"""Which jobs are asked for next, again, or no more; in time that jumps."""

from dataclasses import dataclass, field

import pytest
from acereason_trainer.rewards.jobs import CodeJob, MathJob
from acereason_trainer.rewards.outstanding import (
    ACCEPTED_TRIES,
    INFRA_TRIES,
    SOONEST_HEDGE,
    UNKNOWING_HEDGE,
    Asked,
    Outstanding,
)
from acereason_trainer.rewards.protocol import Grade, Verdict
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

RIGHT = Grade(Verdict.CORRECT, 1.0)
INFRA = Grade(Verdict.INFRA_ERROR, None)


def asked(name: str, group: str = "", now: float = 0.0) -> Asked:
    job = CodeJob("", group.encode(), None) if group else MathJob("1", name)
    return Asked(name, job, alive=now)


def names(batch: list[Asked]) -> list[str]:
    return [a.name for a in batch]


def test_jobs_with_the_same_tests_go_together_and_groups_take_turns() -> None:
    outstanding = Outstanding(60)
    for name, group in (("1", "a"), ("2", "b"), ("3", "a"), ("4", "a"), ("5", "b")):
        outstanding.add(asked(name, group))
    batches = [names(outstanding.batch(2, 0.0)) for _ in range(4)]
    assert batches == [["1", "3"], ["2", "5"], ["4"], []]


def test_what_a_request_did_not_answer_comes_first_in_the_next() -> None:
    outstanding = Outstanding(60)
    for name in "123":
        outstanding.add(asked(name))
    batch = outstanding.batch(2, 0.0)
    outstanding.answered("2", RIGHT, 1.0)
    outstanding.ended(batch)
    assert names(outstanding.batch(9, 2.0)) == ["1", "3"]


def test_an_infrastructure_error_is_believed_only_when_it_comes_again() -> None:
    outstanding = Outstanding(60)
    outstanding.add(job := asked("1"))
    for attempt in range(INFRA_TRIES):
        assert not job.future.done()
        batch = outstanding.batch(1, float(attempt))
        outstanding.answered("1", INFRA, float(attempt))
        outstanding.ended(batch)
    assert job.future.result(0).verdict is Verdict.INFRA_ERROR


@pytest.mark.parametrize(
    ("life", "left"),
    [
        ("nothing at all", 0),
        ("a verdict for another job", 1),
        ("a heartbeat of its own request", 1),
        ("a heartbeat of another request", 0),
    ],
)
def test_a_job_is_given_up_when_there_was_no_sign_of_life_for_it(life: str, left: int) -> None:
    outstanding = Outstanding(patience=10)
    outstanding.add(other := asked("1", "a"))
    outstanding.add(job := asked("2", "b"))
    first, second = outstanding.batch(1, 0.0), outstanding.batch(1, 0.0)
    if life.startswith("a verdict"):
        outstanding.answered("1", RIGHT, 5.0)
    elif "heartbeat" in life:
        outstanding.works_on(second if "own" in life else first, 5.0)
    assert outstanding.give_up(9.9, "gone") == 0
    outstanding.give_up(10.1, "gone")
    assert job.future.done() is (left == 0)
    outstanding.give_up(15.1, "gone")
    assert (job.future.result(0).detail, job.future.result(0).reward) == ("gone", None)
    assert other.future.done()


def test_a_straggler_is_asked_for_once_more_and_the_first_verdict_counts() -> None:
    outstanding = Outstanding(60)
    for n in range(21):
        outstanding.add(asked(str(n)))
    flying = [outstanding.batch(1, 0.0) for _ in range(21)]
    straggler = flying[-1][0]
    for batch in flying[:-1]:
        outstanding.answered(batch[0].name, RIGHT, 0.1)
        outstanding.ended(batch)
    assert outstanding.hedge(SOONEST_HEDGE - 0.1) == 0
    assert outstanding.hedge(SOONEST_HEDGE + 0.1) == 1
    assert outstanding.batch(1, 6.0) == [straggler]
    assert outstanding.hedge(100.0) == 0
    outstanding.answered(straggler.name, RIGHT, 7.0)
    outstanding.answered(straggler.name, Grade(Verdict.WRONG, 0.0), 8.0)
    assert straggler.future.result(0) is RIGHT
    assert outstanding.batch(1, 9.0) == []


def test_nothing_is_a_straggler_before_it_is_known_what_is_long() -> None:
    outstanding = Outstanding(600)
    outstanding.add(asked("1"))
    outstanding.batch(1, 0.0)
    assert outstanding.hedge(UNKNOWING_HEDGE - 0.1) == 0
    assert outstanding.hedge(UNKNOWING_HEDGE + 0.1) == 1


def test_few_stragglers_are_asked_for_again_at_once() -> None:
    """A service that is slow with everything must not get everything twice."""
    outstanding = Outstanding(600)
    for n in range(100):
        outstanding.add(asked(str(n)))
    outstanding.batch(100, 0.0)
    assert outstanding.hedge(100.0) == 5
    outstanding.batch(100, 100.0)
    assert outstanding.hedge(200.0) == 0


def test_hedges_that_cannot_be_sent_yet_count_and_stand_behind_the_others() -> None:
    outstanding = Outstanding(600)
    for n in range(100):
        outstanding.add(asked(str(n)))
    outstanding.batch(100, 0.0)
    assert sum(outstanding.hedge(100.0 + look) for look in range(40)) == 5
    outstanding.add(asked("new"))
    assert names(outstanding.batch(1, 150.0)) == ["new"]
    assert names(outstanding.batch(9, 150.0)) == list("01234")


def test_a_job_whose_request_ended_before_its_hedge_was_sent_needs_none() -> None:
    outstanding = Outstanding(600)
    outstanding.add(asked("1"))
    batch = outstanding.batch(1, 0.0)
    assert outstanding.hedge(100.0) == 1
    outstanding.ended(batch)
    assert [names(outstanding.batch(1, 100.0)) for _ in range(2)] == [["1"], []]


def test_of_jobs_that_are_refused_together_only_the_culprit_is_left() -> None:
    outstanding = Outstanding(60)
    jobs = [asked(str(n)) for n in range(3)]
    for job in jobs:
        outstanding.add(job)
    batch = outstanding.batch(3, 0.0)
    outstanding.refused(batch, "too large")
    outstanding.ended(batch)
    alone = [outstanding.batch(3, 1.0) for _ in range(3)]
    assert sorted(map(names, alone)) == [["0"], ["1"], ["2"]]
    for batch in alone:
        if batch[0].name == "1":
            outstanding.refused(batch, "too large")
        else:
            outstanding.answered(batch[0].name, RIGHT, 2.0)
        outstanding.ended(batch)
    assert [j.future.result(0).verdict for j in jobs] == [
        Verdict.CORRECT,
        Verdict.INFRA_ERROR,
        Verdict.CORRECT,
    ]


def test_what_was_lost_goes_alone_behind_the_others() -> None:
    outstanding = Outstanding(60)
    for name in "123":
        outstanding.add(asked(name))
    batch = outstanding.batch(2, 0.0)
    outstanding.lost(batch, "never answered")
    outstanding.ended(batch)
    assert [names(outstanding.batch(2, 1.0)) for _ in range(4)] == [["3"], ["1"], ["2"], []]


def test_one_job_that_ends_the_service_again_and_again_takes_no_other_with_it() -> None:
    """Whatever is out when the service dies is lost; what is out beside the culprit changes."""
    outstanding = Outstanding(600)
    jobs = [asked(str(n)) for n in range(1024)]
    for job in jobs:
        outstanding.add(job)
    for _ in range(5000):
        flying = []
        while len(flying) < 64 and (batch := outstanding.batch(16, 0.0)):
            flying.append(batch)
        dies = any(job.name == "700" for batch in flying for job in batch)
        for batch in flying:
            if dies:
                outstanding.lost(batch, "never answered")
            else:
                for job in batch:
                    outstanding.answered(job.name, RIGHT, 0.0)
            outstanding.ended(batch)
    left = [j.name for j in jobs if j.future.result(0).verdict is Verdict.INFRA_ERROR]
    assert left == ["700"]
    assert jobs[700].lost == ACCEPTED_TRIES


@dataclass
class World:
    """What a service may do to requests, in any order."""

    now: float = 0.0
    added: int = 0
    flying: list[list[Asked]] = field(default_factory=list)
    jobs: list[Asked] = field(default_factory=list)


class AnyOrder(RuleBasedStateMachine):
    """Nothing is lost and nothing mixed up: in the end every job has a verdict of its own."""

    @initialize()
    def begin(self) -> None:
        self.world = World()
        self.outstanding = Outstanding(patience=1000)

    @rule(group=st.sampled_from(["", "a", "b"]))
    def submit(self, group: str) -> None:
        job = asked(str(len(self.world.jobs)), group, self.world.now)
        self.world.jobs.append(job)
        self.outstanding.add(job)

    @rule(most=st.integers(1, 4))
    def send(self, most: int) -> None:
        if batch := self.outstanding.batch(most, self.world.now):
            self.world.flying.append(batch)

    @rule(data=st.data(), infra=st.booleans())
    def answer(self, data: st.DataObject, infra: bool) -> None:
        if self.world.flying:
            batch = data.draw(st.sampled_from(self.world.flying))
            job = data.draw(st.sampled_from(batch))
            grade = INFRA if infra else Grade(Verdict.CORRECT, 1.0, detail=job.name)
            self.outstanding.answered(job.name, grade, self.world.now)

    @rule(data=st.data(), how=st.sampled_from(["refused", "lost", "otherwise"]))
    def end(self, data: st.DataObject, how: str) -> None:
        if self.world.flying:
            number = data.draw(st.integers(0, len(self.world.flying) - 1))
            batch = self.world.flying.pop(number)
            if how == "refused":
                self.outstanding.refused(batch, "refused")
            elif how == "lost":
                self.outstanding.lost(batch, "lost")
            self.outstanding.ended(batch)

    @rule(seconds=st.floats(0, 40))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds
        self.outstanding.hedge(self.world.now)

    @invariant()
    def verdicts_are_the_jobs_own(self) -> None:
        for job in self.world.jobs:
            if job.future.done() and (grade := job.future.result(0)).reward is not None:
                assert grade.detail == job.name

    def teardown(self) -> None:
        for batch in self.world.flying:
            self.outstanding.ended(batch)
        while batch := self.outstanding.batch(4, self.world.now):
            for job in batch:
                self.outstanding.answered(job.name, Grade(Verdict.WRONG, 0.0, detail=job.name), 0)
            self.outstanding.ended(batch)
        assert all(job.future.done() for job in self.world.jobs)
        assert len(self.outstanding) == 0


TestAnyOrder = AnyOrder.TestCase
