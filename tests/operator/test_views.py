"""Jobs and pods as the planner sees them, from the objects that an API server holds."""

import json
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest
from acereason_operator.cluster import labels
from acereason_operator.cluster.job import job_for
from acereason_operator.cluster.protocol import ClusterError, Object, Refused
from acereason_operator.cluster.views import job_view, refused_view, run_of
from acereason_operator.planner import failures
from acereason_operator.planner.observed import JobView, PodView
from acereason_trainer.config.stage_file import PreparedInputs, PrepareRecord, ResultRecord
from hypothesis import given
from hypothesis import strategies as st
from rendering_builders import OPTIONS, a_run, an_action

T0, T1, T2 = "2026-01-31T12:00:00Z", "2026-01-31T12:01:00Z", "2026-01-31T12:05:00Z"
RESULT = ResultRecord(exit_code=1, reason="OutOfMemory", message="rank 3 ran out of memory", rank=3)
ANSWER = PrepareRecord(exit_code=0, key=f"sft-{'0' * 32}", inputs=PreparedInputs())


def time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def a_job(phase: Any = "Train", nodes: int = 1, **status: Any) -> Object:
    """A Job that was started at T0."""
    run = a_run(defaults={"nodes": nodes})
    job = job_for(an_action(run, phase=phase, attempt=2), run, OPTIONS)
    job["metadata"]["creationTimestamp"] = T0
    return {**job, "status": {"startTime": T0, **status}}


def a_pod(index: int = 0, phase: str = "Running", node: str = "gpu-1", **status: Any) -> Object:
    """One of its pods."""
    return {
        "metadata": {"name": f"pod-{index}", "namespace": "default", "creationTimestamp": T0},
        "spec": {"nodeName": node} if node else {},
        "status": {"phase": phase, **status},
    }


def ended(code: int, message: str = "", reason: str = "Error", container: str = "stage") -> Object:
    """`containerStatuses` of a container that ended at T1."""
    end = {"exitCode": code, "reason": reason, "startedAt": T0, "finishedAt": T1}
    state = {"terminated": {**end, **({"message": message} if message else {})}}
    return {"containerStatuses": [{"name": container, "state": state}]}


def waiting(reason: str, message: str = "", kind: str = "containerStatuses") -> Object:
    state = {"waiting": {"reason": reason, "message": message}}
    return {kind: [{"name": "stage", "state": state}]}


def condition(kind: str, status: str = "True", reason: str = "", message: str = "") -> Object:
    return {
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": T1,
    }  # fmt: skip


def text(record: ResultRecord | PrepareRecord) -> str:
    return json.dumps(record.dump())


def view(job: Object, *pods: Object, ready: bool = True, **more: Any) -> JobView:
    return job_view(job, pods, lambda node: ready, None, **more)


def pod_of(pod: Object, **more: Any) -> PodView:
    """The one pod of a train Job."""
    return view(a_job(), pod, **more).pods[0]


def test_a_job_is_known_by_its_labels() -> None:
    seen = view(a_job(nodes=4))
    assert (seen.stage, seen.attempt, seen.phase, seen.pods_wanted) == ("sft", 2, "Train", 4)
    assert (seen.created_at, seen.admitted_at) == (time(T0), time(T0))
    assert not seen.finished and not seen.stopping and not seen.queued


@pytest.mark.parametrize("kind", ["Complete", "Failed"])
def test_a_job_is_finished_when_its_condition_says_so(kind: str) -> None:
    assert view(a_job(conditions=[condition(kind)])).finished
    assert not view(a_job(conditions=[condition(kind, "False")])).finished


def test_when_a_job_ended_or_was_taken_back_stands_in_its_conditions() -> None:
    assert view(a_job(conditions=[condition("Failed")])).finished_at == time(T1)
    assert view(suspended()).queued_since == time(T1)
    assert (view(a_job()).finished_at, view(a_job()).queued_since) == (None, None)


def test_a_job_that_will_fail_is_not_finished_while_its_pods_still_end() -> None:
    seen = view(a_job(conditions=[condition("FailureTarget", message="pod 3 failed")]), a_pod())
    assert (seen.finished, seen.message) == (False, "pod 3 failed")


def test_a_job_that_is_being_deleted_is_stopping() -> None:
    job = a_job()
    job["metadata"]["deletionTimestamp"] = T1
    assert view(job).stopping


def suspended() -> Object:
    job = a_job(conditions=[condition("Suspended")])
    job["spec"]["suspend"] = True
    del job["status"]["startTime"]
    return job


def deleted(pod: Object, at: str = T2, grace: int = 240) -> Object:
    pod = deepcopy(pod)
    pod["metadata"] |= {"deletionTimestamp": at, "deletionGracePeriodSeconds": grace}
    return pod


def test_a_suspended_job_is_in_the_queue_and_its_ending_pods_blame_nobody() -> None:
    stopped = deleted(a_pod(phase="Failed", **ended(143)))
    seen = view(suspended(), stopped)
    assert (seen.queued, seen.pods, seen.admitted_at) == (True, (), None)


def test_pods_of_an_earlier_admission_say_nothing_of_this_one() -> None:
    left_behind = deleted(a_pod(0, phase="Failed", **ended(143)))
    fresh = a_pod(1)
    fresh["metadata"]["creationTimestamp"] = T2
    seen = view(a_job(startTime=T2), left_behind, fresh)
    assert [pod.name for pod in seen.pods] == ["pod-1"]


def test_a_clock_that_runs_ahead_hides_no_running_pod() -> None:
    """startTime is the controller manager's clock, creationTimestamp the API server's."""
    assert len(view(a_job(startTime=T2), a_pod()).pods) == 1


def test_a_preempted_pod_that_was_made_in_the_second_before_its_job_started_is_evidence() -> None:
    """Times are whole seconds, of two clocks; its peer's exit 1 must not be the user's."""
    start = "2026-01-31T12:00:01Z"
    taken = deleted(a_pod(0, conditions=[condition("DisruptionTarget")]), at=T2, grace=30)
    seen = view(a_job(startTime=start, nodes=2), taken, a_pod(1, phase="Failed", **ended(1)))
    assert [(pod.name, pod.disrupted) for pod in seen.pods] == [("pod-0", True), ("pod-1", False)]


def test_a_suspended_job_that_has_failed_is_judged_not_queued() -> None:
    job = suspended()
    job["status"]["conditions"].append(condition("Failed"))
    seen = view(job, a_pod(phase="Failed", **ended(1)))
    assert (seen.queued, seen.finished, len(seen.pods)) == (False, True, 1)


@pytest.mark.parametrize(
    ("pod", "reason", "message"),
    [
        (
            a_pod(phase="Pending", **waiting("ImagePullBackOff", "no such image")),
            "ImagePullBackOff", "no such image",
        ),
        (
            a_pod(phase="Pending", **waiting("CreateContainerConfigError", "secret not found")),
            "CreateContainerConfigError", "secret not found",
        ),
        (
            a_pod(phase="Pending", **waiting("ErrImagePull", "", "initContainerStatuses")),
            "ErrImagePull", "",
        ),
        (
            a_pod(
                phase="Pending", node="",
                conditions=[condition("PodScheduled", "False", "Unschedulable", "0/9 nodes")],
            ),
            "Unschedulable", "0/9 nodes",
        ),
        (
            a_pod(
                phase="Pending", node="",
                conditions=[condition("PodScheduled", "False", "SchedulingGated", "a gate")],
            ),
            "SchedulingGated", "a gate",
        ),
        (a_pod(phase="Pending", **waiting("ContainerCreating")), "", ""),
        (a_pod(phase="Pending", **waiting("PodInitializing")), "", ""),
        (a_pod(phase="Pending", node=""), "", ""),
        (a_pod(), "", ""),
    ],
)  # fmt: skip
def test_why_a_pod_waits(pod: Object, reason: str, message: str) -> None:
    seen = pod_of(pod)
    assert (seen.waiting_reason, seen.waiting_message) == (reason, message)


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({"conditions": [condition("DisruptionTarget", reason="PreemptionByScheduler")]}, "taken"),
        ({"conditions": [condition("DisruptionTarget", reason="DeletionByPodGC")]}, "node deleted"),
        ({"reason": "Evicted", "message": "low on memory"}, "eviction by a kubelet"),
        ({"reason": "NodeShutdown"}, "graceful shutdown"),
        ({"reason": "Terminated"}, "shutdown, newer kubelets"),
        ({"reason": "OutOfcpu"}, "another pod was faster"),
        ({"reason": "OutOfnvidia.com/gpu"}, "a GPU went away between two looks"),
        ({"reason": "UnexpectedAdmissionError"}, "a device plugin restarted"),
        ({"reason": "NodeAffinity"}, "a node's labels changed"),
    ],
)
def test_a_pod_that_was_taken_is_disrupted(status: Object, why: str) -> None:
    assert pod_of(a_pod(phase="Failed", **status)).disrupted, why


def test_a_pod_that_failed_by_itself_is_not_disrupted() -> None:
    told = [condition("DisruptionTarget", "False"), condition("Ready", "False")]
    assert not pod_of(a_pod(phase="Failed", conditions=told, **ended(1))).disrupted


def test_how_a_container_ended() -> None:
    seen = pod_of(a_pod(phase="Failed", **ended(1, text(RESULT))))
    assert (seen.exit_code, seen.started_at, seen.finished_at) == (1, time(T0), time(T1))
    assert seen.result == RESULT


@pytest.mark.parametrize("phase", ["Prepare", "Train"])
def test_a_sidecar_that_ends_is_not_the_stage(phase: Any) -> None:
    sidecar = ended(1, text(RESULT), container="exporter")
    seen = view(a_job(phase), a_pod(phase="Running", **sidecar))
    assert (seen.pods[0].exit_code, seen.pods[0].result, seen.prepare) == (None, None, None)


def test_prepares_answer_is_its_termination_message() -> None:
    seen = view(a_job("Prepare"), a_pod(**ended(0, text(ANSWER), container="prepare")))
    assert seen.prepare == ANSWER
    assert (seen.pods[0].result, seen.pods[0].log_tail) == (None, "")


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ("", "the launcher was killed"),
        ("Traceback (most recent call last):\n  ...", "the log's tail: FallbackToLogsOnError"),
        (text(RESULT)[:-9], "cut: the kubelet keeps 4 KiB of a pod's, 12 KiB of all together"),
        ('{"exitCode": "1"}', "another program's record"),
        ('{"exitCode": 1, "newField": 2}', "a newer launcher's"),
        ("null", "no record"),
        ("\ud83d" + "{", "half a character"),
    ],
)
def test_a_message_that_is_no_record_counts_as_none(message: str, why: str) -> None:
    seen = pod_of(a_pod(phase="Failed", **ended(1, message)))
    assert (seen.result, seen.exit_code, seen.log_tail) == (None, 1, message), why
    assert view(a_job("Prepare"), a_pod(**ended(1, message, container="prepare"))).prepare is None


def test_a_container_that_the_kernel_killed_for_memory_says_so() -> None:
    """The whole container goes, launcher included: it can leave no record."""
    seen = pod_of(a_pod(phase="Failed", **ended(137, "step 7 loss 0.3", "OOMKilled")))
    assert seen.result is not None
    assert (seen.result.reason, seen.result.exit_code) == ("OutOfMemory", 137)
    assert seen.result.log_tail == "step 7 loss 0.3"
    assert "resources.limits.memory of the stage" in seen.result.message


def test_so_does_one_that_prepares() -> None:
    killed = ended(137, "importing", "OOMKilled", container="prepare")
    (seen,) = view(a_job(phase="Prepare"), a_pod(phase="Failed", **killed)).pods
    assert seen.result is not None
    assert (seen.result.reason, seen.result.exit_code) == ("OutOfMemory", 137)
    assert "container prepare in preparePodTemplate" in seen.result.message


def test_an_end_that_no_kubelet_saw_has_no_exit_code() -> None:
    """The 137 of `ContainerStatusUnknown` is made up."""
    pod = a_pod(phase="Failed", **ended(137, "not located", "ContainerStatusUnknown"))
    assert pod_of(pod).exit_code is None


def test_an_init_container_that_fails_explains_its_pod() -> None:
    state = {"terminated": {"exitCode": 4, "message": "no route to host"}}
    pod = a_pod(phase="Failed", initContainerStatuses=[{"name": "fetch", "state": state}])
    seen = pod_of(pod)
    assert seen.result is not None
    assert (seen.result.reason, seen.result.exit_code) == ("InitContainerFailed", 4)
    assert "fetch ended with 4" in seen.result.message
    assert seen.result.log_tail == "no route to host"


def test_a_pod_on_a_node_that_is_gone() -> None:
    asked: list[str] = []

    def ready(node: str) -> bool:
        asked.append(node)
        return False

    pods = (a_pod(0), a_pod(1, "Pending", node=""))
    seen = job_view(a_job(nodes=2), pods, ready, None)
    assert [pod.node_ready for pod in seen.pods] == [False, True]
    assert asked == ["gpu-1"]


def test_a_pods_end_was_asked_for_when_its_grace_period_began() -> None:
    """`deletionTimestamp` is when it is over."""
    seen = pod_of(deleted(a_pod(), at=T2, grace=240))
    assert (seen.terminating_since, seen.grace_ends_at) == (time(T1), time(T2))


def test_a_pod_that_ended_unseen_ended_when_it_was_taken() -> None:
    told = [condition("DisruptionTarget")]
    assert pod_of(a_pod(phase="Failed", conditions=told)).finished_at == time(T1)


def test_an_unknown_pod_phase_is_no_error() -> None:
    assert pod_of(a_pod(phase="Resting")).phase == "Pending"
    assert pod_of({**a_pod(), "status": {}}).phase == "Pending"


JOB_NAME = a_job()["metadata"]["name"]
EVENTS = [
    {
        "reason": "FailedCreate", "type": "Warning", "metadata": {"creationTimestamp": T0},
        "note": 'pods "x" is forbidden: exceeded quota: gpus', "regarding": {"name": JOB_NAME},
    },
    {
        "reason": "FailedCreate", "type": "Warning", "metadata": {"creationTimestamp": T0},
        "series": {"lastObservedTime": T1}, "note": "exceeded quota: gpus, used 8",
        "regarding": {"name": JOB_NAME},
    },
    {"reason": "SuccessfulCreate", "metadata": {"creationTimestamp": T2}, "note": "Created pod"},
]  # fmt: skip


def test_a_quota_that_refuses_pods_shows_where_there_are_none() -> None:
    assert view(a_job(), events=EVENTS).message == "exceeded quota: gpus, used 8"
    assert view(a_job(), events=EVENTS[2:]).message == ""


CREATING = {
    "conditions": [condition("PodScheduled")],
    **waiting("ContainerCreating"),
}
NO_SECRET = 'MountVolume.SetUp failed for volume "keys": secret "kyes" not found'


def of_the_pod(reason: str, note: str = "", at: str = T1, name: str = "pod-0") -> Object:
    return {
        "reason": reason, "note": note, "regarding": {"kind": "Pod", "name": name},
        "metadata": {"creationTimestamp": T0}, "deprecatedLastTimestamp": at,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("events", "told", "why"),
    [
        ([], ("", ""), "it may pull an image"),
        ([of_the_pod("FailedMount", NO_SECRET)], ("FailedMount", NO_SECRET), "nothing else says"),
        (
            [of_the_pod("FailedMount", NO_SECRET, T0), of_the_pod("FailedAttachVolume", "Multi")],
            ("FailedAttachVolume", "Multi"),
            "the newest counts",
        ),
        (
            [of_the_pod("FailedCreatePodSandBox", "no address"), of_the_pod("Scheduled", at=T2)],
            ("FailedCreatePodSandBox", "no address"),
            "others say nothing of it",
        ),
        (
            [of_the_pod("FailedMount", NO_SECRET), of_the_pod("Pulling", at=T2)],
            ("", ""),
            "it got over that, and pulls its image",
        ),
        ([of_the_pod("FailedMount", NO_SECRET, name="pod-1")], ("", ""), "another pod's"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_pod_that_cannot_be_set_up_says_so_in_its_events_alone(
    events: list[Object], told: tuple[str, str], why: str
) -> None:
    seen = pod_of(a_pod(phase="Pending", **CREATING), events=events)
    assert (seen.waiting_reason, seen.waiting_message) == told, why
    assert seen.placed_at == time(T1)


@pytest.mark.parametrize(
    "status",
    [
        {"phase": "Running", **waiting("ContainerCreating")},
        {"phase": "Pending", **waiting("ImagePullBackOff", "no tag")},
        {
            "phase": "Pending",
            **waiting("PodInitializing"),
            "initContainerStatuses": [{"name": "copy", "state": {"running": {"startedAt": T2}}}],
        },
    ],
    ids=["it runs", "it says why", "an init container runs"],
)
def test_old_events_of_a_pod_that_got_further_say_nothing(status: Object) -> None:
    scheduled = {"conditions": [condition("PodScheduled")]}
    seen = pod_of(a_pod(**scheduled, **status), events=[of_the_pod("FailedMount", NO_SECRET)])
    assert seen.waiting_reason != "FailedMount"


def test_what_a_job_says_of_itself_is_more_than_its_events() -> None:
    job = a_job(conditions=[condition("Failed", message="matching FailJob rule at index 0")])
    assert view(job, events=EVENTS).message == "matching FailJob rule at index 0"


@pytest.mark.parametrize(
    ("error", "code", "why"),
    [
        (Refused("Job is invalid: spec.template.spec.containers[0]...", 422), 78, "invalid"),
        (Refused('strict decoding error: unknown field "spec.x"', 400), 78, "a misspelt field"),
        (Refused("admission webhook denied the request: no root", 403), 78, "a policy"),
        (Refused('cannot patch resource "services" in API group ""', 403), 75, "may pass"),
        (Refused('User "op" cannot create resource "jobs"', 403), 75, "an administrator's to mend"),
    ],
)
@pytest.mark.parametrize("phase", ["Prepare", "Train"])
def test_a_job_that_the_server_refuses_has_ended_with_its_sentence(
    error: ClusterError, code: int, why: str, phase: Any
) -> None:
    action = an_action(a_run(), phase=phase)
    seen = refused_view(action, error)
    assert (seen.name, seen.stage, seen.attempt, seen.phase) == (action.name, "sft", 1, phase)
    assert seen.finished and seen.pods[0].exit_code == code, why
    record = seen.prepare if phase == "Prepare" else seen.result
    assert record is not None
    assert (record.exit_code, str(error) in record.message) == (code, True)
    verdict = failures.OF_CODE[code]
    assert verdict in ("BadConfiguration", "Infrastructure")


def test_whose_an_object_is() -> None:
    job = a_job()
    assert run_of(job) == ("default", "qwen-7b")
    assert run_of({"kind": "AceReasonRun", "metadata": {"name": "a", "namespace": "b"}}) == (
        "b",
        "a",
    )
    assert run_of({"kind": "Pod", "metadata": {"name": "a", "namespace": "b"}}) is None


@pytest.mark.parametrize("label", [*labels.of_phase("r", "s", 1, "Train")])
def test_what_does_not_say_which_phase_it_is_is_nobodys(label: str) -> None:
    """Anybody may make an object with some of our labels."""
    for wrong in (None, "", "x"):
        job = a_job()
        job["metadata"]["labels"] |= {label: wrong}
        if wrong is None:
            del job["metadata"]["labels"][label]
        named = label in (labels.RUN, labels.STAGE) and wrong is not None
        assert (run_of(job) is not None) == named


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(JSON)
def test_no_termination_message_stops_the_operator(message: Any) -> None:
    pod = a_pod(phase="Failed", **ended(1, json.dumps(message)))
    assert pod_of(pod).exit_code == 1


def test_now_is_not_asked() -> None:
    """A refused Job has nothing to settle: its view is the same whenever it is made."""
    action = an_action(a_run())
    error = Refused("invalid", 422)
    assert refused_view(action, error) == refused_view(action, error)
    assert refused_view(action, error).created_at < datetime(2000, 1, 1, tzinfo=UTC)


def test_a_job_that_fails_is_being_ended_by_the_job_controller() -> None:
    failing = a_job(nodes=2, conditions=[condition("FailureTarget", reason="PodFailurePolicy")])
    seen = view(failing, a_pod(0, "Failed", **ended(1)), a_pod(1))
    assert seen.stopping
    assert not seen.finished
