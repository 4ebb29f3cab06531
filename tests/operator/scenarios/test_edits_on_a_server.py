"""What people do to runs, on a real API server: suspend, edit, delete."""

import asyncio
from datetime import timedelta

import pytest
from acereason_operator.cluster import labels
from acereason_operator.cluster.api_server import path_of
from acereason_operator.cluster.protocol import CLAIM, NETWORK_POLICY, SERVICE, Object
from acereason_operator.planner.times import parse_time
from fake_controllers import stage_file_of
from scenarios.kubelets import Waits
from scenarios.live_api import Refusal
from scenarios.scene import TRAINS, TWO_NODES, Scene, attempt_of

from tests.waiting import PATIENCE


def rate(learning_rate: float) -> Object:
    """Settings of another stage key."""
    return {"optimizer": {"learningRate": learning_rate}}


SECOND = {**TRAINS, "name": "second", "sft": rate(1e-6)}


async def test_a_suspended_run_gives_everything_back_and_goes_on_from_its_state(on: Scene) -> None:
    on.hold = {"train"}
    await on.apply()
    (pod,) = await on.seen_running()
    state = on.saves(pod, step=21)
    await on.suspend()
    await on.holds("Suspended")
    assert "set it to false to go on" in await on.described()
    assert "Suspended" in await on.kubectl("get", "arr", "r")
    await on.until(lambda: not on.pods() and not on.jobs(phase="train"))
    await on.costs_nothing()
    await on.go_on()
    (pod,) = await on.running(attempt=2)
    prepared = stage_file_of(pod).prepared
    assert prepared is not None
    assert prepared.resume == state
    assert not any(on.stage().spent.dump().values()), "nobody pays"
    on.release("train")
    await on.holds("Complete")


async def test_a_suspended_stage_waits_alone(on: Scene) -> None:
    held = {**SECOND, "suspend": True}
    await on.apply(stages=[TRAINS, held])
    await on.reaches("Suspended", "second")
    await on.reaches("Complete")
    await on.holds("Suspended")
    text = await on.described()
    assert "held back: second" in text
    assert not on.jobs("second")
    await on.edit(lambda spec: spec["stages"][1].update(suspend=False))
    await on.holds("Complete")


async def test_a_finished_stage_cannot_be_edited(on: Scene) -> None:
    on.hold = {"second"}
    await on.apply(stages=[TRAINS, SECOND])
    await on.reaches("Complete")
    with pytest.raises(Refusal, match="of a stage that has finished cannot be edited"):
        await on.edit(lambda spec: spec["stages"][0].update(sft=rate(1e-7)))
    await on.edit(lambda spec: spec["stages"][0].update(retries={"user": 9}))
    on.release("second")
    await on.holds("Complete")
    assert on.stage().attempts == 1


async def test_an_edit_of_the_running_stage_starts_it_again_under_a_new_key(on: Scene) -> None:
    on.hold = {"train"}
    await on.apply()
    (pod,) = await on.seen_running()
    old = on.stage().key
    on.saves(pod, step=30)
    await on.edit(lambda spec: spec["stages"][0].update(sft=rate(1e-6)))
    (pod,) = await on.running(attempt=2)
    prepared = stage_file_of(pod).prepared
    assert prepared is not None
    assert prepared.key != old
    assert prepared.resume is None, "what the old settings made is another work's"
    assert not on.pods(attempt=1)
    on.release("train")
    await on.holds("Complete")
    assert on.stage().key == prepared.key


async def test_an_edit_that_keeps_the_key_leaves_the_attempt_alone(on: Scene) -> None:
    on.hold = {"train"}
    await on.apply()
    await on.seen_running()
    await on.edit(lambda spec: spec["stages"][0].update(image="trainer:2"))
    generation = on.run()["metadata"]["generation"]
    await on.until(lambda: on.status().observed_generation == generation)
    on.release("train")
    await on.holds("Complete")
    assert on.stage().attempts == 1


async def test_a_later_stage_may_be_edited_added_and_taken_away(on: Scene) -> None:
    on.hold = {"train"}
    await on.apply(stages=[TRAINS, SECOND])
    await on.seen_running()

    def other(spec: Object) -> None:
        spec["stages"][1:] = [{**SECOND, "name": "third", "sft": rate(1e-5)}]

    await on.edit(other)
    on.release("train")
    await on.holds("Complete")
    assert [s.name for s in on.status().stages] == ["train", "third"]
    assert on.stage().attempts == 1


async def test_a_failed_run_goes_on_after_an_edit(on: Scene) -> None:
    on.hold = {"second"}
    await on.apply(stages=[TRAINS, {**SECOND, "retries": {"user": 0}}])
    (pod,) = await on.seen_running("second")
    await on.end(pod, 1, message="rank 0: NaN in the data")
    await on.holds("Failed")
    on.release("second")
    await on.edit(lambda spec: spec["stages"][1].update(sft=rate(1e-7)))
    await on.holds("Complete")
    assert not on.is_("Failed")
    assert on.stage().attempts == 1, "the first stage's result stands"


async def test_a_failed_run_goes_on_when_its_retries_are_raised(on: Scene) -> None:
    on.hold = {"train"}
    await on.apply(stages=[{**TRAINS, "retries": {"user": 0}}])
    (pod,) = await on.seen_running()
    state = on.saves(pod, step=9)
    await on.end(pod, 1, message="rank 0: the disk was full")
    await on.holds("Failed")
    await on.edit(lambda spec: spec["stages"][0].update(retries={"user": 1}))
    (pod,) = await on.running(attempt=2)
    prepared = stage_file_of(pod).prepared
    assert prepared is not None
    assert prepared.resume == state
    on.release("train")
    await on.holds("Complete")


async def test_a_failed_run_is_tried_again_when_it_is_suspended_and_resumed(on: Scene) -> None:
    """What was wrong is not in its file, so no edit shows that it was mended."""
    on.hold = {"train"}
    await on.apply(stages=[{**TRAINS, "retries": {"user": 0}}])
    (pod,) = await on.seen_running()
    await on.end(pod, 78, message="no such revision on the hub")
    await on.holds("Failed")
    assert "suspend the run, kubectl wait" in await on.described()
    on.release("train")
    patch = ("patch", "arr", "r", "--type", "merge", "-p")
    await on.kubectl(*patch, '{"spec": {"suspend": true}}')
    await on.kubectl("wait", "--for=condition=Suspended", "arr/r", f"--timeout={PATIENCE:.0f}s")
    await on.holds("Suspended")  # kubectl may have seen it before the scene's own watch
    assert not on.is_("Failed")
    await on.kubectl(*patch, '{"spec": {"suspend": false}}')
    await on.holds("Complete")


async def test_a_queue_whose_name_was_wrong_is_corrected(on: Scene) -> None:
    await on.apply(queue={"name": "gpsu"})
    await on.until(lambda: on.stage().message == "waits in the queue")
    await on.edit(lambda spec: spec.update(queue={"name": "gpus"}))
    await on.until(lambda: _queues(on) == {"gpus"})
    assert on.stage().attempts == 2
    await on.edit(lambda spec: spec.update(queue=None))
    await on.holds("Complete")


async def test_a_claim_whose_name_was_wrong_is_corrected(on: Scene) -> None:
    missing = Waits("Unschedulable", 'persistentvolumeclaim "typo" not found')

    def starts(pod: Object) -> Waits | None:
        claims = [volume.get("persistentVolumeClaim") for volume in pod["spec"]["volumes"]]
        return missing if {"claimName": "typo"} in claims else None

    on.part.starts = starts
    await on.apply(storage={"claim": "typo"}, stages=[TRAINS, SECOND])
    await on.until(lambda: "try: correct what it names" in on.status().message)
    on.hold = {"second"}
    await on.edit(lambda spec: spec.update(storage={"claim": "runs"}))
    await on.reaches("Complete")
    with pytest.raises(Refusal, match=r"spec\.storage: stages have finished"):
        await on.edit(lambda spec: spec.update(storage={"claim": "other"}))
    on.release("second")
    await on.holds("Complete")


async def test_a_finished_runs_jobs_go_after_its_time_to_live(on: Scene) -> None:
    await on.apply(ttlAfterFinished="3s")
    await on.holds("Complete")
    await on.until(lambda: not on.jobs() and not on.pods())
    finished = on.status().finished_at
    assert finished is not None
    removals = await on.until_asked("delete", "jobs", times=2)
    assert min(removals) >= parse_time(finished) + timedelta(seconds=3), "not before"
    assert on.status().stages[0].artifact, "what they said is kept"
    await on.costs_nothing()


async def test_what_a_run_owns_goes_with_it_and_its_claim_stays(on: Scene) -> None:
    on.hold = {"train"}
    template = {"name": "store", "storage": "1Gi"}
    await on.apply(storage={"claimTemplate": template}, stages=[TWO_NODES])
    await on.seen_running(pods=2)
    for kind in (SERVICE, NETWORK_POLICY, CLAIM):
        assert (await on.api.call("GET", path_of(kind, on.namespace)))["items"]
    await on.kubectl("delete", "arr", "r", f"--timeout={PATIENCE:.0f}s")
    await on.until(lambda: not on.jobs() and not on.pods())
    for kind in (SERVICE, NETWORK_POLICY):
        await _gone(on, path_of(kind, on.namespace))
    claims = await on.api.call("GET", path_of(CLAIM, on.namespace))
    assert [claim["metadata"]["name"] for claim in claims["items"]] == ["store"]
    assert "ownerReferences" not in claims["items"][0]["metadata"]


async def test_a_run_that_is_made_again_finds_what_the_deleted_one_published(on: Scene) -> None:
    await on.apply()
    await on.holds("Complete")
    await on.kubectl("delete", "arr", "r", f"--timeout={PATIENCE:.0f}s")
    await on.until(lambda: not on.jobs())
    await on.apply()
    await on.holds("Complete")
    assert on.stage().state == "Reused"


async def test_another_run_reuses_what_has_the_same_key(on: Scene) -> None:
    """And costs no train phase for it."""
    await on.apply("first", stages=[TRAINS, SECOND])
    await on.holds("Complete", "first")
    other = {**SECOND, "sft": rate(1e-7)}
    await on.apply("other", stages=[{**TRAINS, "name": "same"}, {**other, "name": "new"}])
    await on.holds("Complete", "other")
    assert on.stage("same", "other").state == "Reused"
    assert on.stage("same", "other").artifact == on.stage("train", "first").artifact
    assert on.stage("new", "other").state == "Complete"
    assert [attempt_of(job) for job in on.jobs("same")] == [1]
    assert not on.jobs("same", "train")


async def test_a_run_that_this_cluster_cannot_serve_says_so(on: Scene) -> None:
    await on.apply(storage={"directory": "/data"})
    await on.holds("Failed")
    text = await on.described()
    assert "is a directory of one machine" in text
    assert "use spec.storage.claim" in text
    assert not on.jobs()
    await on.costs_nothing()


def _queues(on: Scene) -> set[str]:
    """Queues in which Jobs of the run wait."""
    waiting = (job for job in on.jobs(phase="train") if job["spec"].get("suspend"))
    return {job["metadata"]["labels"][labels.QUEUE] for job in waiting}


async def _gone(on: Scene, path: str) -> None:
    """The garbage collector has been there. (Nobody watches these kinds.)"""
    while (await on.api.call("GET", path))["items"]:
        await asyncio.sleep(0.3)
