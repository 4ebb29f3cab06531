"""Who pays: a verdict over all pods, after the settling window."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from acereason_operator.planner.context import Context
from acereason_operator.planner.observed import PodView
from acereason_trainer.config.stage_file import PrepareRecord, ResultRecord
from planner_builders import CLUSTER, LAPTOP, NOON, Desk, a_dead_pod, a_pod, a_run, done

MATH = [{"name": "math", "mathRL": {}, "inputs": {"data": {"path": "p"}}}]


def running(context: Context = LAPTOP, stages: list[dict[str, Any]] = MATH, **spec: Any) -> Desk:
    """A desk whose only stage trains."""
    return Desk(a_run(stages, **spec), context).reaches("math")


@dataclass(frozen=True)
class Case:
    why: str
    pods: tuple[PodView, ...]
    verdict: str
    state: str = "BackingOff"


CASES = [
    Case("a program that dies is the user's", (a_dead_pod(1),), "User"),
    Case(
        "so is one that is killed for memory and whose launcher says so",
        (a_dead_pod(137, result=ResultRecord(exit_code=137, rank=0)),),
        "User",
    ),
    Case("a launcher that is killed says nothing", (a_dead_pod(137),), "Infrastructure"),
    Case("a bad configuration is never retried", (a_dead_pod(78),), "BadConfiguration", "Failed"),
    Case("an input may read well elsewhere", (a_dead_pod(65),), "CorruptInput"),
    Case("NaN is a health stop", (a_dead_pod(76),), "HealthStop"),
    Case("a lost peer is the machines' fault", (a_dead_pod(75),), "Infrastructure"),
    Case("a stop that we did not ask for is no crash", (a_dead_pod(143),), "Stopped"),
    Case("no code and no record: prepare will see", (a_dead_pod(None),), "Infrastructure"),
    Case("code 0 without an artifact proves nothing", (a_dead_pod(0),), "Infrastructure"),
    Case(
        "a peer that dies of its neighbour's preemption is not the user's fault",
        (a_dead_pod(1, "a"), a_dead_pod(137, "b", disrupted=True)),
        "Infrastructure",
    ),
    Case(
        "nor is one whose neighbour's node went away",
        (a_dead_pod(78, "a"), a_dead_pod(None, "b", node_ready=False)),
        "Infrastructure",
    ),
    Case(
        "one rank's bad configuration explains the others' deaths",
        (a_dead_pod(1, "a"), a_dead_pod(75, "b"), a_dead_pod(78, "c")),
        "BadConfiguration",
        "Failed",
    ),
    Case(
        "corrupt input explains a crash", (a_dead_pod(1, "a"), a_dead_pod(65, "b")), "CorruptInput"
    ),
    Case("a crash explains lost peers", (a_dead_pod(75, "a"), a_dead_pod(1, "b")), "User"),
    Case("a crash outweighs a health stop", (a_dead_pod(76, "a"), a_dead_pod(1, "b")), "User"),
    Case(
        "a health stop explains a peer",
        (a_dead_pod(75, "a"), a_dead_pod(76, "b")),
        "HealthStop",
    ),
    Case(
        "a lost peer explains a stopped one",
        (a_dead_pod(143, "a"), a_dead_pod(75, "b")),
        "Infrastructure",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.why)
def test_the_most_specific_explanation_over_all_pods_wins(case: Case) -> None:
    desk = running()
    desk.ends("math", *case.pods)
    failure = desk.stage("math").last_failure
    assert failure is not None and failure.verdict == case.verdict
    assert desk.stage("math").state == case.state


def test_on_a_cluster_nobody_is_blamed_before_the_settling_window_is_over() -> None:
    desk = running(CLUSTER)
    plan = desk.ends("math", a_dead_pod(1, "a"), a_pod("b"), finished=False)
    assert desk.stage("math").last_failure is None
    assert plan.requeue_at == NOON + timedelta(seconds=30)
    preempted = a_dead_pod(None, "b", disrupted=True, finished_at=NOON + timedelta(seconds=9))
    desk.ends("math", a_dead_pod(1, "a"), preempted)
    desk.later(seconds=30)
    assert desk.stage("math").spent.infrastructure == 1
    assert desk.stage("math").spent.user == 0


@pytest.mark.parametrize("stopping", [False, True], ids=["", "FailureTarget stays on a Job"])
def test_a_job_whose_pods_are_gone_says_so(stopping: bool) -> None:
    desk = running()
    desk.change("math", stopping=stopping)
    desk.ends("math")
    failure = desk.stage("math").last_failure
    assert failure is not None
    assert (failure.verdict, failure.reason) == ("Infrastructure", "PodsGone")
    assert "no pod of it is left to say how it ended" in failure.message


BEFORE, AFTER = NOON - timedelta(seconds=9), NOON + timedelta(seconds=9)


@pytest.mark.parametrize(
    ("pod", "finished"),
    [
        (a_dead_pod(None, "b", node="n1", terminating_since=BEFORE), False),
        (a_dead_pod(137, "b", node="n1", terminating_since=BEFORE), False),
        (a_pod("b", node="n1", terminating_since=BEFORE), True),
    ],
    ids=["gone", "past its grace period", "not gone yet"],
)
def test_a_pod_that_was_deleted_is_named_and_not_the_one_that_is_well(
    pod: PodView, finished: bool
) -> None:
    desk = running()
    well = a_dead_pod(0, "a") if finished else a_pod("a")
    desk.ends("math", well, pod, finished=finished)
    failure = desk.stage("math").last_failure
    assert failure is not None
    assert (failure.verdict, failure.reason, failure.pod) == ("Infrastructure", "PodDeleted", "b")
    assert "pod b was deleted from node n1 before it had ended" in failure.message


@pytest.mark.parametrize(
    ("since", "reason", "named"),
    [(BEFORE, "PodDeleted", "b"), (NOON, "PodDeleted", "b"), (AFTER, "LostPeer", "a")],
    ids=["somebody deleted it", "in the same second", "the Job controller did, afterwards"],
)
def test_peers_that_only_lost_a_deleted_pod_do_not_hide_it(
    since: datetime, reason: str, named: str
) -> None:
    desk = running()
    follows = ResultRecord(exit_code=75, reason="LostPeer", message="another one is gone")
    ended = a_dead_pod(75, "a", result=follows, finished_at=NOON)
    desk.ends("math", ended, a_pod("b", node="n1", terminating_since=since))
    failure = desk.stage("math").last_failure
    assert failure is not None
    assert (failure.verdict, failure.reason, failure.pod) == ("Infrastructure", reason, named)


@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        (a_dead_pod(137, "b", terminating_since=AFTER), "Error"),
        (a_dead_pod(None, "b", terminating_since=AFTER), "NoRecord"),
        (a_dead_pod(1, "b", terminating_since=BEFORE), "Error"),
    ],
    ids=["killed, and then deleted", "ended, and then deleted", "failed while it was deleted"],
)
def test_a_pod_that_ended_by_itself_was_not_deleted(pod: PodView, reason: str) -> None:
    desk = running()
    desk.ends("math", pod)
    failure = desk.stage("math").last_failure
    assert failure is not None
    assert failure.reason == reason


@pytest.mark.parametrize("consequence", ["LostPeer", "StateGivenUp"])
def test_of_pods_that_end_alike_the_one_that_knows_the_cause_is_told_of(consequence: str) -> None:
    desk = running()
    follows = ResultRecord(exit_code=75, reason=consequence, message="another one is gone")
    knows = ResultRecord(exit_code=75, reason="Killed", message="rank 1 was killed from outside")
    later = NOON + timedelta(seconds=2)
    first = a_dead_pod(75, "a", result=follows)
    desk.ends("math", first, a_dead_pod(75, "b", result=knows, finished_at=later))
    failure = desk.stage("math").last_failure
    assert failure is not None
    assert (failure.reason, failure.pod) == ("Killed", "b")


def test_the_window_counts_from_the_first_bad_end_not_from_a_peer_that_was_done_before() -> None:
    desk = running(CLUSTER)
    desk.now += timedelta(hours=1)
    desk.ends("math", a_dead_pod(0, "a"), a_dead_pod(1, "b", finished_at=desk.now), finished=False)
    assert desk.stage("math").last_failure is None


def test_peers_of_a_dead_pod_are_stopped_and_the_next_attempt_waits_for_their_end() -> None:
    desk = running(stages=[{**MATH[0], "nodes": 2}])
    first = desk.job("math").name
    desk.change("math", pods_wanted=2)
    desk.ends("math", a_dead_pod(1, "a"), a_pod("b"), finished=False)
    assert desk.jobs[first].stopping
    desk.retries_now()
    assert desk.stage("math").attempt is None
    assert first in desk.stage("math").message
    desk.jobs[first] = replace(desk.jobs[first], finished=True)
    desk.rounds()
    assert desk.job("math").attempt == 2


LEAVING = {"terminating_since": NOON, "grace_ends_at": NOON + timedelta(minutes=2)}
"""Of a pod whose end was asked for at noon."""


@pytest.mark.parametrize(
    ("ready", "seconds", "said"),
    [
        (False, 120, "node gpu-7 is not ready"),
        (None, 140, "pod a did not end: its node gpu-7 does not answer"),
    ],
    ids=["the node is seen to be gone", "nodes may not be read"],
)
def test_a_pod_past_its_grace_on_a_lost_node_ends_the_attempt_without_waiting_for_it(
    ready: bool | None, seconds: float, said: str
) -> None:
    desk = running(CLUSTER)
    lost = a_pod("a", node="gpu-7", node_ready=ready, **LEAVING)
    plan = desk.ends("math", lost, finished=False)
    assert desk.stage("math").state == "Running"
    assert plan.requeue_at == NOON + timedelta(seconds=seconds)
    desk.later(seconds=seconds)
    failure = desk.stage("math").last_failure
    assert failure is not None and failure.reason == "NodeLost"
    assert said in failure.message
    assert desk.stage("math").spent.infrastructure == 1
    desk.retries_now()
    assert desk.job("math").attempt == 2


def test_a_pod_that_goes_on_where_nodes_may_not_be_read_is_waited_for_as_long_as_it_may() -> None:
    """Its peer's end is the user's until then: that a node may not be read blames nobody."""
    desk = running(CLUSTER)
    desk.change("math", pods_wanted=2)
    unread = a_pod("b", node_ready=None, **LEAVING)
    desk.ends("math", a_dead_pod(1, "a", node_ready=None), unread, finished=False)
    desk.later(seconds=31)
    failure = desk.stage("math").last_failure
    assert failure is not None and failure.verdict == "User"
    desk.later(seconds=108)
    assert desk.stage("math").attempt is None, "its own grace period is not over yet"
    desk.later(seconds=60)
    assert desk.job("math").attempt == 2


def test_a_node_that_is_only_not_ready_may_come_back() -> None:
    desk = running(CLUSTER)
    desk.ends("math", a_pod("a", node_ready=False), finished=False)
    desk.later(hours=1)
    assert desk.stage("math").state == "Running"


def test_what_was_published_counts_whatever_the_code_says() -> None:
    desk = running()
    desk.ends("math", a_dead_pod(143, result=done("key-math")))
    assert desk.stage("math").state == "Complete"
    assert desk.condition("Complete") == "True AllStagesDone"


def test_an_end_without_a_record_still_shows_the_end_of_its_log() -> None:
    desk = running()
    desk.ends("math", a_dead_pod(1, log_tail="No module named acereason_trainer"))
    failure = desk.stage("math").last_failure
    assert failure is not None and failure.log_tail == "No module named acereason_trainer"


def test_a_failed_prepare_is_judged_by_its_record() -> None:
    desk = Desk(a_run(MATH))
    desk.rounds()
    desk.prepares("math", PrepareRecord(exit_code=78, message="prompts.jsonl is not there"))
    stage = desk.stage("math")
    assert stage.state == "Failed"
    assert "while preparing: prompts.jsonl is not there" in stage.message
    assert "prepare.log" in stage.message


def test_a_failure_says_which_stage_what_where_how_often_and_what_to_do() -> None:
    desk = running(CLUSTER, defaults={"retries": {"user": 0}})
    record = ResultRecord(
        exit_code=1, reason="OutOfMemory", message="rank 3 ran out of memory", log_tail="Traceback"
    )
    desk.ends("math", a_dead_pod(1, "r-math-1-train-0-x", node="gpu-7", result=record))
    desk.later(minutes=1)
    stage = desk.stage("math")
    assert stage.message == (
        "stage math: rank 3 ran out of memory on node gpu-7 (attempt 1, exit 1, 1 of 1 attempts"
        " used). log: kubectl logs -n default r-math-1-train-0-x."
        " try: correct what the log shows and edit the stage, or raise retries.user; where the"
        " cause is not in the run, remove it, then suspend the run, kubectl wait -n default"
        " --for=condition=Suspended arr/r, and resume it"
    )
    assert stage.last_failure is not None
    assert (stage.last_failure.reason, stage.last_failure.log_tail) == ("OutOfMemory", "Traceback")
    assert desk.condition("Failed") == "True StageFailed"


@pytest.mark.parametrize(
    ("reason", "advice", "why"),
    [
        ("BadData", "try: correct the file, or map its columns with columns:", "the data is wrong"),
        ("BadSettings", "try: correct the stage and {} the run again", "the stage is wrong"),
    ],
)
@pytest.mark.parametrize(
    ("context", "verb", "further"),
    [
        (LAPTOP, "start", False),
        (CLUSTER, "apply", True),
    ],
    ids=["laptop", "cluster"],
)
def test_the_advice_fits_what_is_wrong_and_where_the_run_is(
    reason: str, advice: str, why: str, context: Context, verb: str, further: bool
) -> None:
    record = ResultRecord(exit_code=78, reason=reason, message='a.jsonl line 3 has no "answer"')
    desk = running(context)
    desk.ends("math", a_dead_pod(78, result=record))
    desk.later(minutes=1)
    assert advice.format(verb) in desk.stage("math").message
    again = "remove it, then suspend the run, kubectl wait -n default --for=condition=Suspended"
    assert (again in desk.stage("math").message) == further


def test_a_job_that_is_ending_anyway_keeps_its_logs_and_a_dead_node_holds_nobody_up() -> None:
    """Its failed pod has the log; its other pod is terminating for ever on a node that is gone."""
    desk = running(CLUSTER, defaults={"nodes": 2})
    job = desk.job("math").name
    peer = a_pod("b", **LEAVING)
    record = ResultRecord(exit_code=1, message="boom")
    pods = (a_dead_pod(1, "a", result=record), peer)
    desk.change("math", pods_wanted=2, stopping=True, pods=pods)
    desk.later(seconds=31)
    assert desk.stage("math").state == "BackingOff"
    assert not desk.done_now(), "the Job is left to the Job controller"
    desk.later(minutes=10)
    assert desk.stage("math").message == f"waits for {job} to end"
    gone = replace(peer, node_ready=False)
    desk.jobs[job] = replace(desk.jobs[job], pods=(pods[0], gone))
    desk.rounds()
    assert desk.job("math").attempt == 2
