"""What an edit does to stages that have begun."""

from typing import Any

import pytest
from acereason_operator.api.run import AceReasonRun
from acereason_operator.planner import edits
from acereason_operator.planner.context import Context
from acereason_trainer.config.stage_file import ResultRecord
from planner_builders import (
    CLUSTER,
    LAPTOP,
    STAGES,
    Desk,
    a_dead_pod,
    a_pod,
    a_run,
    done,
    prepared,
    published,
)

FASTER = {"sft": {"optimizer": {"learningRate": 1e-3}}}
SAVES_OFTEN = {"sft": {"saving": {"minutesAtRisk": 1}}}
IMAGE = {"image": "trainer:2"}


def changed(stage: str, queue: Any = None, **more: Any) -> AceReasonRun:
    """The run with one stage changed."""
    stages = [{**s, **more} if s["name"] == stage else s for s in STAGES]
    return a_run(stages, **({"queue": queue} if queue else {}))


def test_an_edit_that_changes_results_stops_the_attempt_and_starts_under_the_new_key() -> None:
    desk = Desk(a_run()).reaches("sft")
    old = desk.job("sft").name
    desk.edited(changed("sft", **FASTER))
    assert desk.jobs[old].stopping
    assert desk.stage("sft").message == "stopping (Edited)"
    desk.ends("sft", a_dead_pod(143))
    assert desk.job("sft").attempt == 2
    assert desk.stage("sft").spent.user == 0
    assert desk.made["sft"].stage_file.settings.sft.optimizer.learning_rate == 1e-3


def test_what_an_edited_attempt_publishes_anyway_is_not_the_stages_result() -> None:
    desk = Desk(a_run()).reaches("sft")
    desk.edited(changed("sft", **FASTER))
    desk.ends("sft", a_dead_pod(0, result=done("key-sft")))
    assert (desk.stage("sft").state, desk.stage("sft").artifact) == ("Preparing", None)
    desk.prepares("sft", prepared("key-faster"))
    desk.ends("sft", a_dead_pod(0, result=done("key-faster")))
    assert desk.stage("sft").key == "key-faster"


@pytest.mark.parametrize(
    "more", [SAVES_OFTEN, IMAGE, {"retries": {"user": 9}}, {"deadlines": {"active": "9h"}}]
)
def test_an_edit_that_keeps_the_key_leaves_the_attempt_alone(more: dict[str, Any]) -> None:
    desk = Desk(a_run()).reaches("sft")
    plan = desk.edited(changed("sft", **more))
    assert not desk.done_now()
    assert desk.stage("sft").state == "Running"
    assert plan.status.observed_generation == 2


STARTING = a_pod("a", phase="Pending")
STUCK = a_pod("a", phase="Pending", waiting_reason="ImagePullBackOff")


@pytest.mark.parametrize(
    ("seen", "stops", "why"),
    [
        ({"pods": (STUCK,)}, True, "the image may have been wrong"),
        ({"pods": (STARTING, a_pod("b"))}, True, "half of it does not run, whatever it waits for"),
        ({"pods": ()}, True, "a quota lets it have no pods"),
        ({"pods": (), "queued": True, "queue": "gpus"}, False, "it keeps its place in the queue"),
        ({"pods": (), "queued": True, "queue": "gpsu"}, True, "nobody admits it from that queue"),
        ({"pods": (), "queued": True}, True, "the run has a queue now"),
        ({"pods": (a_pod("a"),)}, False, "it runs"),
    ],
)
def test_an_edit_that_keeps_the_key_stops_only_what_cannot_start(
    seen: dict[str, Any], stops: bool, why: str
) -> None:
    desk = Desk(a_run()).reaches("sft")
    job = desk.job("sft").name
    desk.change("sft", **seen)
    desk.edited(changed("sft", queue={"name": "gpus"}, **IMAGE))
    assert desk.jobs[job].stopping == stops, why
    assert desk.stage("sft").key == "key-sft"


def test_an_edit_of_a_later_stage_just_changes_the_future() -> None:
    desk = Desk(a_run()).reaches("sft")
    desk.edited(changed("math", mathRL={"stop": {"steps": 7}}))
    assert not desk.done_now()
    desk.ends("sft", a_dead_pod(0, result=done("key-sft")))
    assert desk.made["math"].stage_file.settings.math_rl.stop.steps == 7


def test_the_result_of_a_finished_stage_stands_and_the_run_goes_on_and_says_so() -> None:
    desk = Desk(a_run()).reaches("math")
    desk.edited(changed("sft", **FASTER))
    assert desk.stage("sft").state == "Complete"
    assert "its result stands" in desk.stage("sft").message
    assert desk.stage("math").state == "Running"
    desk.edited(a_run())
    assert desk.stage("sft").message == ""


def test_only_the_generation_makes_an_edit() -> None:
    """A newer operator may read the same file with other defaults: that stops nothing."""
    desk = Desk(a_run()).reaches("sft")
    desk.run = changed("sft", **FASTER)
    desk.rounds()
    assert desk.stage("sft").state == "Running"


@pytest.mark.parametrize(
    ("code", "more", "state", "why"),
    [
        (78, FASTER, "Preparing", "its settings were corrected"),
        (78, IMAGE, "Preparing", "another image may know the setting"),
        (78, {"retries": {"user": 9}}, "Failed", "more of the same would fail the same way"),
        (1, {"retries": {"user": 9}}, "Preparing", "its budget was raised"),
        (1, {"retries": {"user": 0, "infrastructure": 9}}, "Failed", "the other budget was raised"),
        (1, SAVES_OFTEN, "Preparing", "an edit gives new budgets"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
def test_a_failed_run_goes_on_when_its_failed_stage_is_edited_or_its_retries_raised(
    code: int, more: dict[str, Any], state: str, why: str
) -> None:
    desk = Desk(a_run()).reaches("sft")
    while desk.stage("sft").state != "Failed":
        desk.ends("sft", a_dead_pod(code))
        desk.retries_now()
        if desk.stage("sft").state == "Preparing":
            desk.prepares("sft")
    assert desk.condition("Failed").startswith("True")
    desk.edited(changed("sft", **more))
    assert desk.stage("sft").state == state, why
    assert desk.condition("Failed").startswith("True" if state == "Failed" else "False")


def test_an_edit_of_another_stage_does_not_revive_a_failed_one() -> None:
    desk = Desk(a_run()).reaches("sft")
    desk.ends("sft", a_dead_pod(78))
    desk.edited(changed("math", mathRL={"stop": {"steps": 7}}))
    assert desk.stage("sft").state == "Failed"


def test_an_edit_made_while_an_attempt_ran_gets_its_own_chance() -> None:
    desk = Desk(a_run()).reaches("sft")
    desk.edited(changed("sft", **IMAGE))
    desk.ends("sft", a_dead_pod(78))
    assert desk.stage("sft").state == "BackingOff", "the new image was not tried yet"


def test_a_stage_added_to_a_complete_run_runs() -> None:
    desk = Desk(a_run(STAGES[:2])).reaches("sft")
    desk.ends("sft", a_dead_pod(0, result=done("key-sft")))
    assert desk.condition("Complete").startswith("True")
    desk.edited(a_run(STAGES))
    assert desk.condition("Complete").startswith("False")
    assert desk.stage("math").state == "Preparing"
    assert desk.status.finished_at is None


def test_the_job_of_a_stage_that_was_removed_is_stopped() -> None:
    desk = Desk(a_run()).reaches("math")
    job = desk.job("math").name
    desk.edited(a_run(STAGES[:2]))
    assert desk.jobs[job].stopping
    assert desk.condition("Complete").startswith("True")


def test_a_person_can_have_a_failed_run_tried_again_without_an_edit() -> None:
    desk = Desk(a_run()).reaches("sft")
    desk.ends("sft", a_dead_pod(78))
    desk.rounds()
    assert desk.stage("sft").state == "Failed"
    desk.status = edits.tried_again(desk.status)
    desk.rounds()
    assert desk.job("sft").attempt == 2


def test_a_renamed_stage_finds_its_own_work_again() -> None:
    desk = Desk(a_run()).reaches("math")
    renamed = [{**s, "name": "sft-2"} if s["name"] == "sft" else s for s in STAGES]
    desk.edited(a_run(renamed))
    desk.prepares("sft-2", prepared("key-sft", reused=published("key-sft")))
    assert desk.stage("sft-2").state == "Reused"


QUEUED = {"queue": {"name": "gpus"}}


def on_a_claim(claim: str, **spec: Any) -> AceReasonRun:
    """The run with its store on a claim."""
    return a_run(storage={"claim": claim}, **spec)


def test_a_running_attempt_is_stopped_when_the_run_goes_to_another_volume() -> None:
    """What it would publish there is not where the next stage looks."""
    desk = Desk(on_a_claim("typo")).reaches("prompts")
    old = desk.job("prompts").name
    desk.edited(on_a_claim("runs"))
    assert desk.jobs[old].stopping
    desk.ends("prompts", a_dead_pod(143))
    assert (desk.job("prompts").attempt, desk.stage("prompts").key) == (2, None)


def test_a_claim_that_is_made_from_a_template_and_then_named_is_the_same_volume() -> None:
    desk = Desk(a_run(storage={"claimTemplate": {"name": "runs", "storage": "1Ti"}}))
    desk.reaches("prompts")
    desk.edited(on_a_claim("runs"))
    assert not desk.done_now()


@pytest.mark.parametrize("more", [{"storage": {"claim": "other"}}, QUEUED])
def test_a_failed_run_goes_on_when_its_storage_or_its_queue_is_corrected(
    more: dict[str, Any],
) -> None:
    desk = Desk(on_a_claim("full")).reaches("prompts")
    desk.ends("prompts", a_dead_pod(78))
    assert desk.stage("prompts").state == "Failed"
    desk.edited(a_run(**{"storage": {"claim": "full"}, **more}))
    assert desk.stage("prompts").state == "Preparing"
    assert desk.stage("prompts").spent.user == 0


def test_a_queue_that_is_corrected_or_given_up_frees_the_job_that_waits_in_the_old_one() -> None:
    desk = Desk(a_run(queue={"name": "gpsu"})).reaches("prompts")
    job = desk.job("prompts").name
    desk.change("prompts", pods=(), queued=True, queue="gpsu")
    desk.edited(a_run())
    assert desk.jobs[job].stopping


@pytest.mark.parametrize("held", [{"suspend": True}, {"stages": [{**STAGES[0], "suspend": True}]}])
@pytest.mark.parametrize("context", [CLUSTER, LAPTOP])
def test_suspending_and_resuming_a_failed_run_tries_it_again_with_new_budgets(
    held: dict[str, Any], context: Context
) -> None:
    plain = {"stages": STAGES[:1]}
    desk = Desk(a_run(**plain, defaults={"retries": {"user": 0}}), context).reaches("prompts")
    desk.ends("prompts", a_dead_pod(1, result=ResultRecord(exit_code=1)))
    desk.later(minutes=1)
    assert desk.stage("prompts").state == "Failed"
    desk.edited(a_run(**{**plain, **held}, defaults={"retries": {"user": 0}}))
    assert desk.stage("prompts").state == "Suspended"
    assert desk.condition("Failed").startswith("False")
    assert desk.condition("Suspended").startswith("True")
    assert not desk.done_now(), "not before it is resumed"
    desk.edited(a_run(**plain, defaults={"retries": {"user": 0}}))
    assert desk.stage("prompts").state == "Preparing"
    assert desk.stage("prompts").spent.user == 0


def test_suspending_a_run_opens_no_stage_that_is_done() -> None:
    desk = Desk(a_run()).reaches("sft")
    desk.ends("sft", a_dead_pod(78))
    desk.edited(a_run(suspend=True))
    assert [s.state for s in desk.status.stages] == ["Complete", "Suspended", "Suspended"]
