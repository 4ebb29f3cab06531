"""Suspend, deadlines, queues, standing still, and removing Jobs at the end."""

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from acereason_operator.api.run import AceReasonRun
from acereason_operator.planner.actions import CreateJob, RemoveJob
from planner_builders import (
    CLUSTER,
    NOON,
    STAGES,
    Desk,
    a_dead_pod,
    a_pod,
    a_run,
    done,
    prepared,
    progress,
)

NO_ROOM = "0/4 nodes are available: 4 Insufficient nvidia.com/gpu."


def held(run: AceReasonRun, suspend: bool = True) -> AceReasonRun:
    """The run with `spec.suspend` set."""
    return run.model_copy(update={"spec": run.spec.model_copy(update={"suspend": suspend})})


def test_suspend_stops_the_attempt_charges_nobody_and_going_on_is_a_new_prepare() -> None:
    desk = Desk(a_run()).reaches("sft")
    desk.edited(held(desk.run))
    assert desk.job("sft").stopping
    assert desk.condition("Suspended") == "False Stopping"
    desk.ends("sft", a_dead_pod(1))
    assert desk.stage("sft").state == "Suspended"
    assert desk.condition("Suspended") == "True SuspendedByUser"
    assert desk.last.requeue_at is None, "nothing to wait for"
    desk.edited(held(desk.run, suspend=False))
    assert (desk.job("sft").attempt, desk.job("sft").phase) == (2, "Prepare")
    assert desk.stage("sft").spent.user == 0


def test_a_stage_that_publishes_while_it_is_being_stopped_is_complete() -> None:
    desk = Desk(a_run()).reaches("sft")
    desk.edited(held(desk.run))
    desk.ends("sft", a_dead_pod(143, result=done("key-sft")))
    assert desk.stage("sft").state == "Complete"


@pytest.mark.parametrize(
    ("grace", "seconds", "said"),
    [
        ("30s", None, ""),
        ("2m", 95.2, ""),
        (
            "30s",
            95.2,
            "publishing took 95 s and gracePeriod is 30 s, so a stop keeps the last periodic state "
            "only. try: gracePeriod: 191s",
        ),
    ],
)
def test_a_grace_period_too_short_to_publish_in_is_told(
    grace: str, seconds: float | None, said: str
) -> None:
    desk = Desk(a_run(defaults={"gracePeriod": grace})).reaches("sft")
    desk.ends("sft", a_dead_pod(0, result=done("key-sft", publish_seconds=seconds)))
    assert (desk.stage("sft").state, desk.stage("sft").message) == ("Complete", said)


def test_one_stage_can_be_held_back_while_the_others_go_on() -> None:
    stages = [STAGES[0], {**STAGES[1], "suspend": True}]
    desk = Desk(a_run([*stages, {**STAGES[2], "needs": ["prompts"]}]))
    desk.rounds()
    desk.finishes("prompts")
    assert desk.stage("sft").state == "Suspended"
    assert desk.stage("math").state == "Preparing"


def test_suspend_drops_a_claim_that_nobody_carried_out_and_its_late_job_is_stopped() -> None:
    desk = Desk(a_run())
    desk.status = desk.plan().status  # written, and then the executor died
    (late,) = [a for a in desk.plan().actions if isinstance(a, CreateJob)]
    desk.edited(held(desk.run))
    assert desk.stage("prompts").attempt is None
    desk.carry_out(late)
    desk.rounds()
    assert desk.jobs[late.name].stopping


def test_a_crash_between_write_and_start_is_made_good_by_whoever_looks_next() -> None:
    desk = Desk(a_run())
    desk.status = desk.plan().status
    desk.round()
    assert [a.name for a in desk.done_now()] == ["r-prompts-1-prepare"]


def test_pods_that_do_not_all_run_in_time_are_given_back_and_queueing_is_not_waiting() -> None:
    run = a_run(STAGES[:1], defaults={"deadlines": {"pending": "10m"}})
    desk = Desk(run, CLUSTER)
    desk.round()
    job = desk.job("prompts")
    desk.jobs[job.name] = replace(job, pods=(), queued=True)
    desk.later(hours=5)
    assert desk.stage("prompts").message == "waits in the queue"
    stuck = a_pod("a", phase="Pending", waiting_reason="Unschedulable", waiting_message=NO_ROOM)
    desk.change("prompts", queued=False, admitted_at=desk.now, pods=(stuck,))
    plan = desk.rounds()
    assert plan.requeue_at == desk.now + timedelta(minutes=10)
    desk.later(minutes=10)
    assert desk.job("prompts").stopping
    del desk.jobs[job.name]
    desk.rounds()
    stage = desk.stage("prompts")
    assert stage.state == "BackingOff"
    assert (stage.spent.user, stage.spent.infrastructure, stage.spent.pending) == (0, 0, 1)
    assert desk.condition("Stalled") == "True PodsPending"
    desk.later(minutes=1)
    assert desk.job("prompts").attempt == 2


def test_a_stage_fails_when_its_attempts_ran_too_long_together() -> None:
    desk = Desk(a_run(defaults={"deadlines": {"active": "3h"}})).reaches("prompts")
    desk.now += timedelta(hours=2)
    desk.ends("prompts", a_dead_pod(75, finished_at=desk.now))
    assert desk.stage("prompts").active_seconds == 7200
    desk.retries_now()
    desk.prepares("prompts")
    plan = desk.rounds()
    assert plan.requeue_at == desk.now + timedelta(hours=1)
    desk.later(hours=1)
    assert desk.job("prompts").stopping
    desk.ends("prompts", a_dead_pod(143, finished_at=desk.now))
    assert desk.stage("prompts").state == "Failed"
    assert "deadlines.active" in desk.stage("prompts").message
    desk.edited(a_run(defaults={"deadlines": {"active": "9h"}}))
    assert desk.stage("prompts").state == "Preparing", "a raised deadline lets it go on"


HOUR = timedelta(hours=1)
TAKEN = {"disrupted": True, "finished_at": NOON + HOUR}


@pytest.mark.parametrize(
    ("seen", "ran", "why"),
    [
        ({"pods": (a_dead_pod(143, **TAKEN),), "finished": True}, HOUR, "its pod says when"),
        (
            {"pods": (a_dead_pod(1, "a"), a_dead_pod(None, "b", **TAKEN)), "finished": True},
            HOUR,
            "the last pod counts",
        ),
        (
            {
                "pods": (
                    a_dead_pod(1, "a", finished_at=NOON + HOUR / 2),
                    a_pod(
                        "b",
                        node_ready=False,
                        terminating_since=NOON + HOUR,
                        grace_ends_at=NOON + HOUR,
                    ),
                )
            },
            HOUR,
            "a pod on a node that is gone ran at most until it was asked to end",
        ),
        ({"pods": (), "finished": True, "finished_at": NOON + HOUR}, HOUR, "its pods are gone"),
        ({"pods": (), "finished": True}, timedelta(days=1), "nobody knows"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_operator_that_was_away_does_not_use_up_the_active_deadline(
    seen: dict[str, Any], ran: timedelta, why: str
) -> None:
    run = a_run(STAGES[:1], defaults={"deadlines": {"active": "30h"}, "nodes": 2})
    desk = Desk(run, CLUSTER).reaches("prompts")
    assert desk.stage("prompts").state == "Running"
    desk.now = NOON + timedelta(days=1)
    desk.change("prompts", pods_wanted=len(seen["pods"]) or 2, **seen)
    desk.rounds()
    assert desk.stage("prompts").state == "BackingOff"
    assert desk.stage("prompts").active_seconds == ran.total_seconds(), why


def test_a_job_that_a_queue_took_back_ran_until_then_whenever_that_is_seen() -> None:
    run = a_run(STAGES[:1], defaults={"deadlines": {"active": "3h", "noProgress": "10m"}})
    desk = Desk(run, CLUSTER).reaches("prompts")
    taken = NOON + HOUR
    desk.now = NOON + timedelta(days=1)
    desk.change("prompts", pods=(), queued=True, queued_since=taken)
    desk.rounds()
    assert (desk.stage("prompts").state, desk.stage("prompts").active_seconds) == ("Pending", 3600)
    desk.later(days=1)
    desk.change("prompts", pods=(a_pod(),), queued=False, admitted_at=desk.now)
    plan = desk.rounds()
    assert plan.requeue_at == desk.now + timedelta(hours=2)


def test_a_step_that_stands_still_is_told_and_left_to_the_launcher() -> None:
    run = a_run(STAGES[:1], defaults={"deadlines": {"noProgress": "10m"}})
    desk = Desk(run).reaches("prompts")
    assert desk.made["prompts"].stage_file.no_progress_seconds == 600
    desk.change("prompts", progress=progress(3))
    plan = desk.rounds()
    assert plan.requeue_at == NOON + timedelta(minutes=10)
    desk.later(minutes=10)
    assert desk.condition("Stalled") == "True NoProgress"
    assert not desk.done_now()
    desk.change("prompts", progress=progress(4))
    desk.rounds()
    assert desk.condition("Stalled") == "False NotStalled"


@pytest.mark.parametrize(("limit", "told"), [("0s", 0), (None, None)])
def test_where_the_run_sets_no_limit_the_launcher_alone_knows_whether_a_step_stands_still(
    limit: str | None, told: float | None
) -> None:
    deadlines = {} if limit is None else {"noProgress": limit}
    desk = Desk(a_run(STAGES[:1], defaults={"deadlines": deadlines})).reaches("prompts")
    assert desk.made["prompts"].stage_file.no_progress_seconds == told
    desk.change("prompts", progress=progress(3))
    assert desk.rounds().requeue_at is None
    desk.later(days=1)
    assert desk.condition("Stalled") == "False NotStalled"


def test_a_step_does_not_stand_still_while_a_queue_holds_the_job() -> None:
    run = a_run(STAGES[:1], defaults={"deadlines": {"noProgress": "30m"}})
    desk = Desk(run, CLUSTER).reaches("prompts")
    desk.change("prompts", progress=progress(100), step_since=desk.now)
    desk.rounds()
    desk.change("prompts", pods=(), queued=True, progress=None, step_since=None)
    desk.rounds()
    desk.later(hours=5)
    desk.change("prompts", pods=(a_pod(),), queued=False, admitted_at=desk.now)
    desk.rounds()
    desk.change("prompts", progress=progress(100), step_since=desk.now)
    plan = desk.rounds()
    assert desk.condition("Stalled") == "False NotStalled", "it has just gone on"
    assert plan.requeue_at == desk.now + timedelta(minutes=30)
    desk.later(minutes=30)
    assert desk.condition("Stalled") == "True NoProgress"


def test_a_step_that_cannot_be_read_is_not_said_to_stand_still() -> None:
    run = a_run(STAGES[:1], defaults={"deadlines": {"noProgress": "30m"}})
    desk = Desk(run, CLUSTER).reaches("prompts")
    desk.change("prompts", progress=progress(100), step_since=desk.now)
    desk.rounds()
    desk.change("prompts", progress_unknown="pod a: no answer in time")
    desk.later(minutes=31)
    assert desk.condition("ProgressUnknown") == "True NotTold"
    assert desk.condition("Stalled") == "False NotStalled"
    desk.change("prompts", progress_unknown="")
    desk.rounds()
    assert desk.condition("Stalled") == "True NoProgress", "it is read again, and is the same"


@pytest.mark.parametrize(
    ("a", "b", "told"),
    [
        (None, None, ["a", "b"]),
        ("", None, ["b"]),
        ("pod a: 404", None, ["a", "b"]),
        (None, "pod b: 404", ["b", "a"]),
        ("", "", []),
    ],
)
def test_a_new_leader_keeps_what_is_told_only_of_stages_that_it_has_not_asked_yet(
    a: str | None, b: str | None, told: list[str]
) -> None:
    side_by_side = [{**STAGES[0], "name": name, "needs": []} for name in "abc"]
    desk = Desk(a_run(side_by_side), CLUSTER)
    desk.rounds()
    for name in "abc":
        desk.prepares(name)
    for name in "ab":
        why = f"pod {name}: no answer in time; try: let the operator reach that port"
        desk.change(name, progress_unknown=why)
    desk.change("c", progress_unknown=None)
    desk.rounds()
    desk.change("a", progress_unknown=a)
    desk.change("b", progress_unknown=b)
    desk.rounds()
    said = [c.message for c in desk.status.conditions if c.type == "ProgressUnknown"]
    sentences = said[0].split("; stage ") if said else []
    assert [text.removeprefix("stage ")[0] for text in sentences] == told


@pytest.mark.parametrize("noted", [False, True])
def test_a_step_that_is_noted_late_has_stood_since_it_was_seen(noted: bool) -> None:
    run = a_run(STAGES[:1], defaults={"deadlines": {"noProgress": "10m"}})
    desk = Desk(run).reaches("prompts")
    desk.change("prompts", progress=progress(3), step_since=NOON)
    desk.now = NOON + timedelta(minutes=9)
    if noted:
        desk.rounds()
    assert desk.plan().requeue_at == NOON + timedelta(minutes=10)
    desk.later(minutes=1)
    assert desk.condition("Stalled") == "True NoProgress"


def test_stages_in_parallel_note_their_steps_together_and_no_more_often_than_one() -> None:
    side_by_side = [{**STAGES[0], "name": name, "needs": []} for name in "abcd"]
    desk = Desk(a_run(side_by_side), CLUSTER)
    desk.rounds()
    for name in "abcd":
        desk.prepares(name)
    desk.later(minutes=1)
    every, notes = CLUSTER.progress_every, []
    for second in range(120):
        for i, name in enumerate("abcd"):
            desk.change(name, progress=progress((second + 7 * i) // 28))
        before = [stage.step for stage in desk.status.stages]
        desk.later(seconds=1)
        if [stage.step for stage in desk.status.stages] != before:
            notes.append(desk.now)
    assert all(later - earlier >= every for earlier, later in pairwise(notes))
    assert len(notes) >= 120 / every.total_seconds() / 2
    desk.later(seconds=every.total_seconds())
    assert [stage.step for stage in desk.status.stages] == [4, 4, 4, 5]


def test_an_image_that_cannot_be_pulled_is_shown_at_once() -> None:
    desk = Desk(a_run(), CLUSTER)
    desk.round()
    stuck = a_pod("a", phase="Pending", waiting_reason="ImagePullBackOff", waiting_message="no tag")
    desk.change("prompts", pods=(stuck,))
    desk.rounds()
    assert desk.condition("Stalled") == "True ImagePullBackOff"
    assert desk.stage("prompts").message.startswith("pod a cannot start: no tag. try: correct")


@pytest.mark.parametrize("reason", ["FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"])
def test_a_pod_that_cannot_be_set_up_is_told_and_stalls_the_run_some_minutes_after_it_was_placed(
    reason: str,
) -> None:
    desk = Desk(a_run(), CLUSTER)
    desk.round()
    placed = desk.now + timedelta(hours=5)
    desk.now = placed + timedelta(minutes=1)
    said = {"waiting_reason": reason, "waiting_message": 'secret "kyes" not found'}
    stuck = a_pod("a", phase="Pending", placed_at=placed, **said)
    waits = a_pod("b", phase="Pending", waiting_reason="PodInitializing")
    desk.change("prompts", pods=(waits, stuck))
    plan = desk.rounds()
    assert (
        f'pod a: {reason}: secret "kyes" not found. try: correct' in desk.stage("prompts").message
    )
    assert desk.condition("Stalled") == "False NotStalled", "a volume is detached in a minute"
    assert plan.requeue_at == placed + timedelta(minutes=3)
    desk.later(minutes=2)
    assert desk.condition("Stalled") == f"True {reason}"


SCHEDULER = "0/4 nodes are available: {}. preemption: 0/4 nodes are available"
SERVER = 'Error creating: pods "r-0-" is forbidden: {}'
CORRECT = "try: correct what it names and apply the run again"
MAKE_ROOM = "try: make room, or ask for less; it starts by itself then"
OTHERS = f"{MAKE_ROOM}; or, if the other nodes are meant, add their toleration or selector"


@pytest.mark.parametrize(
    ("unplaced", "refused", "advice"),
    [
        ("4 Insufficient nvidia.com/gpu", "", MAKE_ROOM),
        ("4 Insufficient nvidia.com/gpu, 8 node(s) had untolerated taint {gpu: true}", "", OTHERS),
        ("2 Insufficient cpu, 2 node(s) didn't match Pod's node affinity/selector", "", OTHERS),
        (
            "2 Insufficient cpu, 1 node(s) had untolerated taint"
            " {node-role.kubernetes.io/control-plane: }",
            "",
            MAKE_ROOM,
        ),
        (
            "2 Insufficient cpu, 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }",
            "",
            MAKE_ROOM,
        ),
        ("4 node(s) had untolerated taint(s)", "", CORRECT),
        ("4 node(s) didn't match pod anti-affinity rules", "", MAKE_ROOM),
        ("4 Too many pods", "", MAKE_ROOM),
        ("", "exceeded quota: small, requested: pods=1, used: pods=0", MAKE_ROOM),
        ('persistentvolumeclaim "typo" not found', "", CORRECT),
        ("4 node(s) didn't match Pod's node affinity/selector", "", CORRECT),
        ("", 'violates PodSecurity "restricted:latest": privileged', CORRECT),
        ("", 'error looking up service account default/x: serviceaccount "x" not found', CORRECT),
        ("", 'admission webhook "policy.example.com" denied the request', CORRECT),
    ],
)
def test_room_is_waited_for_and_whatever_else_keeps_pods_away_a_person_has_to_correct(
    unplaced: str, refused: str, advice: str
) -> None:
    desk = Desk(a_run(), CLUSTER)
    desk.round()
    if unplaced:
        told = {"waiting_reason": "Unschedulable", "waiting_message": SCHEDULER.format(unplaced)}
        desk.change("prompts", pods=(a_pod("a", phase="Pending", **told),))
    else:
        desk.change("prompts", pods=(), message=SERVER.format(refused))
    plan = desk.rounds()
    assert (unplaced or refused) in desk.stage("prompts").message
    assert advice in desk.stage("prompts").message
    assert desk.condition("Stalled") == "False NotStalled", "it may pass"
    if advice == MAKE_ROOM:
        assert "podTemplate" not in desk.stage("prompts").message
        assert plan.requeue_at is None
        desk.later(hours=1)
        assert desk.condition("Stalled") == "False NotStalled"
        return
    told_at = NOON + timedelta(minutes=10 if unplaced else 1)
    assert plan.requeue_at == told_at
    desk.now = told_at
    desk.rounds()
    assert desk.condition("Stalled") == f"True {'Unschedulable' if unplaced else 'PodsRefused'}"
    assert (unplaced or refused) in desk.status.message
    assert advice in desk.status.message


@pytest.mark.parametrize(
    "words",
    [
        "2 Insufficient cpu, 1 node(s) had untolerated taint(s)",
        "3 node(s) didn't match pod anti-affinity rules, 1 node(s) had untolerated taint(s)",
    ],
)
def test_a_taint_that_the_scheduler_does_not_name_makes_no_wait_for_room_a_persons_affair(
    words: str,
) -> None:
    """Kubernetes 1.35 says no more of a control plane; but it may be the GPU nodes'."""
    desk = Desk(a_run(), CLUSTER)
    desk.round()
    told = {"waiting_reason": "Unschedulable", "waiting_message": SCHEDULER.format(words)}
    desk.change("prompts", pods=(a_pod("a", phase="Pending", **told),))
    assert desk.rounds().requeue_at is None
    assert OTHERS in desk.stage("prompts").message
    desk.later(hours=1)
    assert desk.condition("Stalled") == "False NotStalled"


def test_a_job_for_which_a_quota_has_no_room_is_waited_for_and_nobody_pays() -> None:
    desk = Desk(a_run(), CLUSTER)
    name = "r-prompts-1-prepare"
    said = 'jobs.batch "x" is forbidden: exceeded quota: small, requested: count/jobs.batch=1'
    desk.no_room = {name: said}
    plan = desk.rounds()
    assert plan.actions == (), "not again at once"
    told = f"Job {name} cannot be made yet: {said}. {MAKE_ROOM}"
    assert desk.stage("prompts").message == told
    assert told in desk.status.message
    desk.later(days=7)
    assert (desk.stage("prompts").attempts, desk.condition("Stalled")) == (1, "False NotStalled")
    desk.no_room, before = {}, desk.status
    desk.round()
    assert [action.name for action in desk.done_now()] == [name]
    assert desk.status == before, "whoever tries again writes nothing for it"
    desk.rounds()
    assert desk.stage("prompts").message == ""
    assert not any(desk.stage("prompts").spent.dump().values())


def test_jobs_go_when_the_run_was_finished_for_so_long_and_not_before() -> None:
    desk = Desk(a_run(STAGES[:1], ttlAfterFinished="1h")).reaches("prompts")
    plan = desk.ends("prompts", a_dead_pod(0, result=done("key-prompts")))
    assert plan.requeue_at == NOON + timedelta(hours=1)
    assert len(desk.jobs) == 2
    desk.now = plan.requeue_at
    desk.round()
    assert [type(a) for a in desk.done_now()] == [RemoveJob, RemoveJob]
    assert desk.rounds().requeue_at is None
    assert desk.stage("prompts").state == "Complete", "terminal stays terminal"


def test_conditions_are_there_from_the_first_visit_and_keep_their_time_until_they_change() -> None:
    desk = Desk(a_run(STAGES[:1]))
    desk.rounds()
    assert {c.type for c in desk.status.conditions} == {
        "Complete",
        "Failed",
        "Suspended",
        "Stalled",
    }
    assert {c.status for c in desk.status.conditions} == {"False"}
    desk.later(hours=1)
    desk.finishes("prompts")
    times = {c.type: c.last_transition_time for c in desk.status.conditions}
    assert times["Complete"] == "2026-01-31T13:00:00Z"
    assert times["Failed"] == "2026-01-31T12:00:00Z"


def test_people_are_told_once() -> None:
    desk = Desk(a_run(STAGES[:1])).reaches("prompts")
    desk.change("prompts", finished=True, pods=(a_dead_pod(0, result=done("key-prompts")),))
    desk.round()
    assert desk.events() == ["StageComplete", "RunComplete"]
    desk.round()
    assert desk.events() == []


@pytest.mark.parametrize(
    ("nodes", "deadlines", "given_back", "why"),
    [
        (2, {}, timedelta(minutes=30), "half a gang holds what another needs"),
        (2, {"active": "9h"}, timedelta(minutes=30), "another deadline says nothing of this one"),
        (2, {"pending": "5h"}, timedelta(hours=5), "the run says how long"),
        (1, {}, None, "one pod that waits holds nothing"),
    ],
)
def test_the_pods_of_several_nodes_do_not_wait_for_each_other_for_ever(
    nodes: int, deadlines: dict[str, str], given_back: timedelta | None, why: str
) -> None:
    run = a_run(STAGES[:1], defaults={"nodes": nodes, "deadlines": deadlines})
    desk = Desk(run, CLUSTER)
    desk.rounds()
    desk.change("prompts", finished=True, prepare=prepared("key"), pods=(a_dead_pod(0),))
    desk.round()
    stuck = a_pod("b", phase="Pending", waiting_reason="Unschedulable", waiting_message=NO_ROOM)
    desk.change("prompts", pods_wanted=nodes, pods=(a_pod("a"), stuck)[-nodes:])
    plan = desk.rounds()
    assert plan.requeue_at == (NOON + given_back if given_back else None), why
    desk.later(hours=6)
    assert desk.job("prompts").stopping == bool(given_back)
    if given_back:
        desk.ends("prompts", a_dead_pod(143, finished_at=desk.now))
        limit = deadlines.get("pending", "30m")
        told = NO_ROOM.rstrip(".")
        said = (
            f"pods did not all run within {limit} (deadlines.pending): pod b: Unschedulable: {told}"
        )
        assert desk.stage("prompts").message == said
        assert f"{said}. try: correct what it names, make room" in desk.status.message
        assert desk.condition("Stalled") == "True PodsPending"


def test_what_kept_a_gang_from_running_is_told_after_its_pods_are_gone() -> None:
    """A Job that is deleted loses the pods that no node has at once."""
    run = a_run(STAGES[:1], defaults={"nodes": 2})
    desk = Desk(run, CLUSTER)
    desk.rounds()
    missing = {"waiting_reason": "FailedMount", "waiting_message": 'secret "kyes" not found'}
    for often in ("", ", 2 times in a row"):
        desk.change("prompts", finished=True, prepare=prepared("key"), pods=(a_dead_pod(0),))
        desk.round()
        began = desk.now
        stuck = a_pod("b", phase="Pending", placed_at=began, **missing)
        desk.change("prompts", pods_wanted=2, admitted_at=began, pods=(a_pod("a"), stuck))
        desk.rounds()
        desk.later(minutes=31)
        assert "stopping (PendingDeadline): pod b: FailedMount" in desk.stage("prompts").message
        desk.change("prompts", pods=(a_pod("a", terminating_since=desk.now),))
        desk.later(seconds=10)
        desk.jobs.clear()
        desk.rounds()
        said = f'within 30m (deadlines.pending){often}: pod b: FailedMount: secret "kyes" not found'
        assert said in desk.stage("prompts").message
        assert said in desk.status.message
        desk.retries_now()
