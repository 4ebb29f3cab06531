"""What keeps a run waiting, on a real API server: the reason stands in status, and waits end."""

import asyncio
from itertools import count

from acereason_operator.cluster import labels
from acereason_operator.cluster.protocol import JOB, POD, Object
from acereason_trainer.config.stage_file import Progress
from fake_controllers import stage_file_of
from quotas import no_room_for
from scenarios.kubelets import InitFails, Waits
from scenarios.scene import TRAINS, TWO_NODES, Scene, phase_of

NO_ROOM = Waits("Unschedulable", "0/4 nodes are available: 4 Insufficient nvidia.com/gpu.")
NO_IMAGE = Waits("ImagePullBackOff", 'Back-off pulling image "trainer:1": not found')
MANY = 1_000_000
"""Steps of a stage that no scenario sees to its end."""


def only_train(why: Waits | InitFails, index: int = 0):
    """Of the train phase, the pods from this index on do not start."""

    def starts(pod: Object) -> Waits | InitFails | None:
        at = int(pod["metadata"]["labels"][labels.COMPLETION_INDEX])
        return why if phase_of(pod) == "train" and at >= index else None

    return starts


async def test_an_image_that_cannot_be_pulled(on: Scene) -> None:
    """An edit of the image is the cure, though it does not change the key."""
    no_image = only_train(NO_IMAGE)

    def starts(pod: Object) -> Waits | InitFails | None:
        wrong = pod["spec"]["containers"][0]["image"] == "trainer:1"
        return no_image(pod) if wrong else None

    on.part.starts = starts
    await on.apply()
    await on.holds("Stalled")
    await on.until_told("RunStalled")
    text = await on.described()
    for words in (
        "stage train: pod",
        "cannot start: Back-off pulling image",
        "Reason: ImagePullBackOff",
        "try: correct what it names and apply the run again",
        "Warning RunStalled",
    ):
        assert words in text
    assert "Stalled" in await on.kubectl("get", "arr", "r")
    await on.edit(lambda spec: spec["stages"][0].update(image="trainer:2"))
    await on.holds("Complete")
    assert not on.is_("Stalled")
    assert not any(on.stage().spent.dump().values()), "nobody pays"


async def test_a_pod_that_finds_no_room(on: Scene) -> None:
    on.part.starts = only_train(NO_ROOM)
    await on.apply()
    await on.until(lambda: "Insufficient nvidia.com/gpu" in on.status().message)
    assert on.stage().state == "Pending"
    text = await on.described()
    (pod,) = on.pods()
    assert f"stage train: pod {pod['metadata']['name']}: Unschedulable: 0/4 nodes" in text
    assert "try: make room, or ask for less" in text
    assert NO_ROOM.message.rstrip(".") in await on.kubectl("get", "arr", "r", "-o", "wide")
    on.part.starts = lambda pod: None
    on.look_again()
    await on.holds("Complete")
    assert on.stage().attempts == 1


async def test_an_init_container_that_fails(on: Scene) -> None:
    on.part.starts = only_train(InitFails(3, "no RDMA device"))
    copies = {"name": "copy", "image": "busybox:1"}
    template = {"spec": {"initContainers": [copies]}}
    await on.apply(stages=[{**TRAINS, "podTemplate": template, "retries": {"user": 0}}])
    await on.holds("Failed")
    text = await on.described()
    for words in ("stage train: init container copy ended with 3", "no RDMA device", "try: "):
        assert words in text


async def test_a_quota_that_refuses_pods(on: Scene) -> None:
    """The Job is there and gets no pods: the reason is the Job's, and stands in the run's status.
    It may pass, so it is waited for."""
    quota = await asyncio.to_thread(no_room_for, POD, on.api.control_plane, on.namespace, "small")
    await on.apply()
    await on.until(lambda: "exceeded quota: small" in on.status().message)
    text = await on.described()
    assert "stage train: Error creating: pods" in text
    assert "exceeded quota: small" in text
    assert "try: make room" in text
    await on.api.call("DELETE", quota)
    await on.kubectl("delete", "job", on.jobs()[0]["metadata"]["name"])
    await on.holds("Complete")


async def test_a_quota_that_refuses_jobs(on: Scene) -> None:
    quota = await asyncio.to_thread(no_room_for, JOB, on.api.control_plane, on.namespace, "none")
    await on.apply()
    await on.until(lambda: "exceeded quota: none" in on.status().message)
    text = await on.described()
    assert "cannot be made yet" in text
    assert "try: make room" in text
    await on.api.call("DELETE", quota)
    await on.edit(lambda spec: spec.update(ttlAfterFinished="1h"))  # or it takes a minute
    await on.holds("Complete")
    assert not any(on.stage().spent.dump().values()), "nobody pays"


async def test_an_invalid_pod_template(on: Scene) -> None:
    template = {"spec": {"tolerations": [{"key": "gpu", "operator": "Sometimes"}]}}
    await on.apply(stages=[{**TRAINS, "podTemplate": template}])
    await on.holds("Failed")
    assert on.stage().attempts == 1, "the server will not change its mind"
    text = await on.described()
    for words in (
        "stage train",
        "the cluster refuses Job",
        "tolerations",
        "try: correct the stage",
    ):
        assert words in text
    assert not on.jobs()


async def test_pods_that_do_not_all_run_in_time_are_all_given_back(on: Scene) -> None:
    """Half a gang holds nothing that another needs; each try waits longer, and nobody pays."""
    on.hold = {"train"}  # a rank that waits for its peer publishes nothing
    on.part.starts = only_train(NO_ROOM, index=1)
    await on.apply(stages=[{**TWO_NODES, "deadlines": {"pending": "3s"}, "gracePeriod": "1s"}])
    await on.until(lambda: on.stage().spent.pending >= 1)
    # A pod past its grace period counts as ended; the scene's kubelets may be slower than a second.
    await on.until(
        lambda: not [pod for pod in on.pods(attempt=1) if pod["status"]["phase"] == "Running"]
    )
    await on.holds("Stalled")
    text = await on.described()
    assert "stage train: pods did not all run" in text
    assert "or raise deadlines.pending" in text
    on.part.starts = lambda pod: None
    on.release("train")
    await on.holds("Complete")
    spent = on.stage().spent
    assert (spent.user, spent.infrastructure, spent.pending) == (0, 0, 0)


async def _steps(on: Scene, first: int) -> None:
    """Training that goes on, at a step in half a second."""
    for step in count(first):
        on.part.progress["train"] = Progress(step=step, total=MANY, metrics={"reward": 0.5})
        await asyncio.sleep(0.5)


async def test_a_step_that_stands_still_is_told_and_not_touched(on: Scene) -> None:
    """The watchdog that ends it is the launcher's: it is given the deadline."""
    on.hold = {"train"}
    on.part.progress["train"] = Progress(step=5, total=MANY)
    await on.apply(stages=[{**TRAINS, "deadlines": {"noProgress": "2s"}}])
    (pod,) = await on.seen_running()
    assert stage_file_of(pod).no_progress_seconds == 2.0
    await on.holds("Stalled")
    text = await on.described()
    assert "stage train has stood at step 5 for longer than deadlines.noProgress" in text
    assert "try: look at its log" in text
    assert on.stage().attempts == 1
    going_on = asyncio.create_task(_steps(on, first=6))
    await on.until(lambda: not on.is_("Stalled"))
    going_on.cancel()
    assert on.stage().step >= 6
    on.release("train")
    await on.holds("Complete")


async def test_attempts_that_run_too_long_together_fail_the_stage(on: Scene) -> None:
    on.hold = {"train"}
    await on.apply(stages=[{**TRAINS, "deadlines": {"active": "2s"}, "gracePeriod": "1s"}])
    await on.holds("Failed")
    text = await on.described()
    for words in ("stage train ran", "past deadlines.active", "try: raise it"):
        assert words in text
    await on.until(lambda: not on.pods())
    on.release("train")
    await on.edit(lambda spec: spec["stages"][0].update(deadlines={"active": "1h"}))
    await on.holds("Complete")


async def test_a_running_stage_shows_its_step_and_reward(on: Scene) -> None:
    """`kubectl get arr` has them, as rank 0 itself tells them."""
    on.hold = {"math"}
    on.part.progress["math"] = Progress(step=12, total=40, metrics={"reward": 0.625})
    await on.apply(stages=[TRAINS, {**TRAINS, "name": "math", "sft": {"rowTokens": 64}}])
    await on.until(lambda: on.stage("math").step == 12)
    header, row = (await on.kubectl("get", "arr", "-o", "wide")).splitlines()
    assert header.split() == ["NAME", "STATE", "STAGE", "PROGRESS", "ATTEMPT", "REWARD",
                              "MESSAGE", "AGE"]  # fmt: skip
    assert row.split()[:7] == ["r", "Running", "math", "1/2", "(12/40)", "1", "0.625"]
    header, row = (await on.kubectl("get", "arr")).splitlines()
    assert header.split() == ["NAME", "STATE", "STAGE", "PROGRESS", "AGE"]
    on.release("math")
    await on.holds("Complete")


async def test_a_stage_whose_progress_cannot_be_read_goes_on_and_says_so(on: Scene) -> None:
    on.hold = {"train"}
    on.part.progress["train"] = Progress(step=5, total=100)
    await on.apply(stages=[TRAINS])
    await on.until(lambda: on.stage().step == 5)
    said = on.part.progress.pop("train")
    await on.holds("ProgressUnknown")
    text = await on.described()
    (pod,) = on.pods()
    assert "stage train goes on; its progress is not known" in text
    assert f"pod {pod['metadata']['name']} at {pod['status']['podIP']}:" in text
    assert "it answers 404 to GET /progress" in text
    assert (on.status().state, on.stage().step) == ("Running", 5)
    on.part.progress["train"] = said
    await on.until(lambda: not on.is_("ProgressUnknown"))
    on.release("train")
    assert (await on.holds("Complete")).stages[0].attempts == 1


async def test_a_queue_admits_takes_back_and_admits_again(on: Scene) -> None:
    """Only who admits a Job lets it start. A suspension that is not ours is preemption by the
    queue: the same Job goes on later, and nobody pays."""
    on.hold = {"train"}
    await on.apply(queue={"name": "gpus", "priorityClass": "research"})
    (job,) = await on.until(lambda: on.jobs(phase="train"))
    name, meta = job["metadata"]["name"], job["metadata"]
    assert meta["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert meta["labels"]["kueue.x-k8s.io/priority-class"] == "research"
    assert job["spec"]["suspend"] is True
    await on.until(lambda: on.status().message == "stage train: waits in the queue")
    assert not on.pods()
    assert "waits in the queue" in await on.kubectl("get", "arr", "r", "-o", "wide")
    await on.patch_job(name, {"spec": {"suspend": False}})
    await on.seen_running()
    await on.patch_job(name, {"spec": {"suspend": True}})
    await on.until(lambda: not on.pods() and on.stage().message == "waits in the queue")
    assert on.stage().state == "Pending"
    await on.patch_job(name, {"spec": {"suspend": False}})
    await on.seen_running()
    on.release("train")
    await on.holds("Complete")
    assert [j["metadata"]["name"] for j in on.jobs(phase="train")] == [name]
    assert not any(on.stage().spent.dump().values())
    assert not any("queue-name" in str(j["metadata"]["labels"]) for j in on.jobs(phase="prepare"))
