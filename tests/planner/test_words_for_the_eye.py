"""What `kubectl get` shows of a run besides its conditions."""

from dataclasses import replace

from acereason_operator.planner.status import refused
from acereason_trainer.config.stage_file import Progress
from planner_builders import NOON, Desk, a_dead_pod, a_run


def a_desk() -> Desk:
    return Desk(a_run(one_stage()))


def one_stage() -> list[dict[str, object]]:
    """One RL stage."""
    data = {"data": {"path": "prompts.jsonl"}}
    return [{"name": "math", "mathRL": {}, "inputs": data}]


def test_the_attempt_and_the_last_reward_of_the_stage_in_work_are_shown() -> None:
    desk = a_desk().reaches("math")
    assert (desk.status.attempt, desk.status.reward) == ("1", "")
    seen = Progress(step=3, total=10, metrics={"reward": 0.34567})
    desk.jobs = {name: replace(job, progress=seen) for name, job in desk.jobs.items()}
    desk.later(minutes=1)
    assert (desk.status.attempt, desk.status.reward) == ("1", "0.346")


def test_there_is_nothing_to_say_while_all_goes_well() -> None:
    assert a_desk().reaches("math").status.message == ""


def test_a_failed_run_says_why_and_has_no_attempt() -> None:
    desk = a_desk().reaches("math")
    desk.ends("math", a_dead_pod(78))
    assert desk.status.state == "Failed"
    assert desk.status.attempt == ""
    assert desk.status.message == desk.stage("math").message != ""


def test_a_run_that_nothing_can_be_planned_for_says_why() -> None:
    sentence = "spec.storage.directory is a directory of one machine; use spec.storage.claim"
    status = refused(a_desk().reaches("math").status, 2, "Unsupported", sentence, NOON)
    assert (status.state, status.message) == ("Failed", sentence)
    assert status.finished_at is not None, "whoever waits for its end need not wait longer"


def test_a_suspended_run_says_how_to_go_on() -> None:
    desk = a_desk().reaches("math")
    desk.run = a_run(one_stage(), generation=2, suspend=True)
    desk.rounds()
    desk.ends("math", a_dead_pod(143))
    assert desk.status.message == "spec.suspend is true; set it to false to go on"
