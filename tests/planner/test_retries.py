"""Two budgets, backing off, and the one free health stop."""

from datetime import timedelta
from typing import Any

import pytest
from acereason_operator.planner.times import parse_time
from acereason_trainer.config.stage_file import ResultRecord, ResumeState
from planner_builders import CLUSTER, Desk, a_dead_pod, a_run, done, prepared, progress, published

MATH = [
    {"name": "math", "mathRL": {"health": {"window": 20}}, "inputs": {"data": {"path": "p"}}},
]


def running(**spec: Any) -> Desk:
    """A desk whose only stage trains."""
    return Desk(a_run(MATH, **spec)).reaches("math")


def once_more(desk: Desk, code: int, **result: Any) -> None:
    """The attempt ends with a code; the next one trains, if there is one."""
    record = ResultRecord(exit_code=code, **result)
    desk.ends("math", a_dead_pod(code, result=record))
    desk.retries_now()
    if desk.stage("math").attempt:
        desk.prepares("math")


@pytest.mark.parametrize(
    ("code", "budget", "attempts"),
    [(1, {"user": 2}, 3), (1, {"user": 0}, 1), (75, {"infrastructure": 4}, 5)],
)
def test_a_budget_of_n_retries_allows_n_plus_one_attempts(
    code: int, budget: dict[str, int], attempts: int
) -> None:
    desk = running(defaults={"retries": budget})
    for _ in range(attempts):
        assert desk.stage("math").state == "Running"
        once_more(desk, code)
    assert desk.stage("math").state == "Failed"
    assert desk.stage("math").attempts == attempts


def test_preemption_never_spends_the_users_budget() -> None:
    desk = running(defaults={"retries": {"user": 0}})
    for _ in range(5):
        desk.ends("math", a_dead_pod(1, disrupted=True))
        desk.retries_now()
        desk.prepares("math")
    spent = desk.stage("math").spent
    assert (spent.user, spent.infrastructure) == (0, 5)


def test_the_wait_doubles_to_a_limit_and_is_the_same_for_the_same_attempt() -> None:
    waits = []
    for _ in range(2):
        desk = Desk(a_run(MATH, defaults={"retries": {"user": 9}}), CLUSTER).reaches("math")
        mine = []
        for _ in range(8):
            desk.now += timedelta(minutes=1)
            desk.ends("math", a_dead_pod(1))
            at = parse_time(desk.stage("math").retry_at or "")
            mine.append((at - desk.now).total_seconds())
            desk.now = at
            desk.rounds()
            desk.prepares("math")
        waits.append(mine)
    assert waits[0] == waits[1]
    for i, wait in enumerate(waits[0]):
        plain = min(10 * 2**i, 300)
        assert plain * 0.75 - 1 <= wait <= plain * 1.25


def test_a_new_attempt_goes_on_from_the_state_that_prepare_found() -> None:
    desk = running()
    desk.ends("math", a_dead_pod(75))
    desk.retries_now()
    state = ResumeState(path="work/r/math/1/states/40", step=40, digest="sha256:" + "a" * 64)
    desk.prepares("math", prepared("key-math", resume=state))
    claim = desk.stage("math").attempt
    assert claim is not None and claim.prepared is not None and claim.prepared.resume == state


def test_the_first_health_stop_is_free_and_goes_back_before_the_damage() -> None:
    desk = running(defaults={"retries": {"user": 0}})
    desk.ends("math", a_dead_pod(76, result=ResultRecord(exit_code=76, step=100)))
    stage = desk.stage("math")
    assert (stage.state, stage.salt, stage.before_step) == ("BackingOff", 1, 80)
    desk.retries_now()
    desk.prepares("math")
    claim = desk.stage("math").attempt
    assert claim is not None and claim.prepared is not None and claim.prepared.salt == 1
    once_more(desk, 76, step=120)
    assert desk.stage("math").state == "Failed", "the second one is the user's"


def test_the_stage_file_of_a_health_retry_tells_prepare_where_to_look() -> None:
    desk = running()
    desk.ends("math", a_dead_pod(76, result=ResultRecord(exit_code=76, step=100)))
    desk.retries_now()
    file = desk.made["math"].stage_file
    assert (file.attempt, file.salt, file.before_step) == (2, 1, 80)


def test_a_stop_that_nobody_here_asked_for_is_paid_by_the_infrastructure_and_ends_one_day() -> None:
    """A liveness probe that fails stops each attempt in the same way."""
    budgets = {"retries": {"user": 0, "infrastructure": 2}}
    desk = Desk(a_run(MATH, defaults=budgets), CLUSTER).reaches("math")
    waits = []
    for _ in range(3):
        assert desk.stage("math").state == "Running"
        desk.now += timedelta(minutes=1)
        desk.ends("math", a_dead_pod(143, result=ResultRecord(exit_code=143)))
        if at := desk.stage("math").retry_at:
            waits.append(parse_time(at) - desk.now)
            desk.retries_now()
            desk.prepares("math")
    stage = desk.stage("math")
    assert (stage.state, stage.spent.user, stage.spent.infrastructure) == ("Failed", 0, 3)
    assert waits[1] > waits[0], "it waits longer each time"
    assert "livenessProbe" in stage.message
    assert "raise retries.infrastructure" in stage.message
    desk.edited(a_run(MATH, defaults={"retries": {"user": 0, "infrastructure": 9}}))
    assert desk.stage("math").state == "Preparing"


def test_a_job_that_was_deleted_is_judged_by_a_new_prepare() -> None:
    desk = running()
    desk.jobs.clear()
    desk.rounds()
    assert desk.stage("math").state == "BackingOff"
    assert desk.stage("math").spent.infrastructure == 1
    desk.retries_now()
    desk.prepares("math", prepared("key-math", reused=done("key-math").artifact))
    stage = desk.stage("math")
    assert stage.state == "Complete", "its own attempt had published: nothing was reused"


def test_steps_and_metrics_are_noted_and_survive_the_end() -> None:
    desk = running()
    desk.change("math", progress=progress(7))
    desk.rounds()
    assert (desk.stage("math").step, desk.stage("math").total_steps) == (7, 100)
    assert desk.status.progress == "0/1 (7/100)"


def test_on_a_cluster_steps_are_noted_at_most_every_so_often() -> None:
    desk = Desk(a_run(MATH), CLUSTER).reaches("math")
    desk.change("math", progress=progress(7))
    desk.rounds()
    desk.now += timedelta(seconds=5)
    desk.change("math", progress=progress(8))
    plan = desk.rounds()
    assert desk.stage("math").step == 7
    assert plan.requeue_at is not None
    desk.now = plan.requeue_at
    desk.rounds()
    assert desk.stage("math").step == 8


def test_a_launcher_killed_after_it_published_is_judged_by_prepare() -> None:
    desk = Desk(a_run(defaults={"retries": {"user": 0, "infrastructure": 0}})).reaches("sft")
    desk.ends("sft", a_dead_pod(137))
    assert (desk.stage("sft").state, desk.stage("sft").spent.user) == ("BackingOff", 0)
    desk.retries_now()
    desk.prepares("sft", prepared("key-sft", reused=published("key-sft")))
    assert desk.stage("sft").state == "Complete"


def test_an_end_without_a_record_fails_the_stage_once_prepare_found_no_artifact() -> None:
    desk = Desk(a_run(defaults={"retries": {"user": 0, "infrastructure": 0}})).reaches("sft")
    desk.ends("sft", a_dead_pod(137))
    desk.retries_now()
    desk.prepares("sft")
    assert desk.stage("sft").state == "Failed"
    assert "SIGKILL" in desk.stage("sft").message and "launcher.log" in desk.stage("sft").message
