"""Attempts that end badly, on a real API server: who pays, what comes next, what a person reads."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from acereason_operator.cluster import labels
from acereason_operator.cluster.api_server import path_of
from acereason_operator.cluster.protocol import JOB
from acereason_trainer.config.stage_file import PublishedArtifact
from fake_controllers import ENDED, End, index_of, stage_file_of
from scenarios.kubelets import Waits
from scenarios.live_api import Refusal
from scenarios.scene import TRAINS, TWO_NODES, Scene, attempt_of, phase_of

from tests.waiting import PATIENCE


async def test_a_failed_rank_ends_the_attempt_and_the_next_one_resumes(on: Scene) -> None:
    on.hold = {"train"}
    await on.apply(stages=[TWO_NODES])
    first, second = await on.seen_running(pods=2)
    state = on.saves(first, step=40)
    await on.end(second, 1, reason="RankFailed", message="rank 1: RuntimeError", rank=1, step=43)
    again = await on.running(attempt=2, pods=2)
    for pod in again:
        prepared = stage_file_of(pod).prepared
        assert prepared is not None
        assert prepared.resume == state
    left = [pod["status"]["phase"] for pod in on.pods(attempt=1)]
    assert set(left) <= set(ENDED), "nothing of the first attempt runs beside the second"
    assert on.stage().spent.user == 1
    on.release("train")
    await on.holds("Complete")


@dataclass(frozen=True)
class Ends:
    """How the first attempt's only pod ends, and what must follow."""

    code: int
    why: str
    record: dict[str, Any] = field(default_factory=dict)
    state: str = "BackingOff"
    verdict: str = ""
    spent: dict[str, int] = field(default_factory=dict)
    said: tuple[str, ...] = ()


CODES = [
    Ends(1, "user", {"message": "rank 0: ValueError"}, verdict="User", spent={"user": 1}),
    Ends(78, "bad-configuration", {"message": "groupSize does not divide the batch"},
         state="Failed", verdict="BadConfiguration", spent={"user": 1},
         said=("groupSize does not divide", "correct the stage and apply the run again")),
    Ends(65, "corrupt-input", {"message": "shard 3 does not match"}, verdict="CorruptInput",
         spent={"corruptInput": 1}, said=("not counted",)),
    Ends(75, "temporary", {"message": "a peer was lost"}, verdict="Infrastructure",
         spent={"infrastructure": 1}, said=("1 of 21 infrastructure losses",)),
    Ends(76, "health-stop", {"message": "the loss is NaN", "step": 30}, verdict="HealthStop",
         spent={"health": 1}, said=("not counted",)),
    Ends(143, "stopped", {"message": "stopped"}, verdict="Stopped",
         spent={"infrastructure": 1}, said=("1 of 21 infrastructure losses",)),
    Ends(137, "launcher-killed", verdict="Infrastructure", spent={"infrastructure": 1}),
    Ends(139, "crashed-without-a-record", verdict="User", spent={"user": 1}, said=("SIGSEGV",)),
    Ends(0, "nothing-published", verdict="Infrastructure", spent={"infrastructure": 1},
         said=("ended without a record",)),
]  # fmt: skip


@pytest.mark.parametrize("case", CODES, ids=lambda c: f"{c.code}-{c.why}")
async def test_every_exit_code_has_its_payer(on: Scene, case: Ends) -> None:
    on.hold = {"train"}
    await on.apply()
    (pod,) = await on.seen_running()
    await on.end(pod, case.code, **case.record)
    failure = await on.until(lambda: on.stage().last_failure)
    assert failure.verdict == case.verdict
    assert on.stage().spent.dump() == {"user": 0, "infrastructure": 0, "health": 0,
                                       "corruptInput": 0, "pending": 0} | case.spent  # fmt: skip
    assert failure.pod == pod["metadata"]["name"]
    for words in (*case.said, f"stage train: {case.record.get('message', '')}"):
        assert words in f"{failure.message} {on.stage().message}"
    if case.state == "Failed":
        await on.holds("Failed")
        assert attempt_of(on.jobs()[-1]) == 1, "never retried"
        text = await on.described()
        assert all(words in text for words in case.said)
        await on.costs_nothing()
        return
    on.release("train")
    await on.holds("Complete")
    assert on.stage().attempts == 2


async def test_a_health_stop_is_free_once_and_draws_anew_from_before_the_damage(on: Scene) -> None:
    on.hold = {"train"}
    await on.apply()
    (pod,) = await on.seen_running()
    stop = {"reason": "NaN", "message": "the loss is NaN", "step": 30}
    await on.end(pod, 76, **stop)
    (pod,) = await on.seen_running(attempt=2)
    told = stage_file_of(pod)
    assert (told.salt, told.before_step) == (1, 29)
    assert told.prepared is not None
    assert told.prepared.salt == 1
    await on.end(pod, 76, **stop)
    await on.until(lambda: on.stage().spent.health == 2)
    assert on.stage().spent.user == 1, "the second one is the user's"


async def test_a_corrupt_input_is_verified_on_another_node(on: Scene) -> None:
    on.hold = {"train"}
    await on.apply()
    (pod,) = await on.seen_running()
    await on.end(pod, 65, reason="CorruptInput", message="shard 3 does not match")
    await on.until(lambda: on.jobs(phase="prepare")[1:])
    (again,) = on.jobs(phase="prepare")[1:]
    affinity = again["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    assert pod["spec"]["nodeName"] in str(affinity)
    on.release("train")
    await on.holds("Complete")


async def test_an_input_from_outside_that_stays_corrupt_fails_the_run(on: Scene) -> None:
    def bad(pod: Any) -> End | None:
        corrupt = {"exit_code": 65, "corrupt_input": "data", "message": "rows.jsonl has changed"}
        return on.prepares(pod, reused=None, **corrupt) if phase_of(pod) == "prepare" else None

    on.part.script = bad
    await on.apply()
    await on.holds("Failed")
    assert len(on.jobs(phase="prepare")) == 2
    text = await on.described()
    assert "stage train: input data does not match its digest" in text
    assert "try: restore it, or name another source" in text


async def test_bad_configuration_that_prepare_finds_asks_for_no_gpu(on: Scene) -> None:
    said = {"exit_code": 78, "message": "rows.jsonl is not in the store"}
    on.part.script = lambda pod: on.prepares(pod, key=None, inputs=None, **said)
    await on.apply()
    await on.holds("Failed")
    assert not on.jobs(phase="train")
    text = await on.described()
    assert "stage train while preparing: rows.jsonl is not in the store" in text
    assert "try: correct the stage and apply the run again" in text


async def test_a_user_that_fails_too_often_reads_all_that_matters(on: Scene) -> None:
    """Pod, exit code, reason, the end of the log, and what to do next."""
    on.hold = {"train"}
    await on.apply(stages=[{**TRAINS, "retries": {"user": 0}}])
    (pod,) = await on.seen_running()
    await on.end(
        pod, 1, reason="OutOfMemory", rank=0, step=12,
        message="rank 0 ran out of GPU memory",
        log_tail="step 12\ntorch.OutOfMemoryError: CUDA out of memory",
    )  # fmt: skip
    await on.holds("Failed")
    await on.until_told("StageFailed")
    failure = on.stage().last_failure
    assert failure is not None
    name = pod["metadata"]["name"]
    assert (failure.pod, failure.exit_code, failure.reason) == (name, 1, "OutOfMemory")
    text = await on.described()
    for words in (
        "stage train: rank 0 ran out of GPU memory",
        f"on node {pod['spec']['nodeName']}",
        "exit 1, 1 of 1 attempts used",
        f"log: kubectl logs -n {on.namespace} {name}",
        "try: correct what the log shows and edit the stage, or raise retries.user",
        "torch.OutOfMemoryError: CUDA out of memory",
        "Warning StageFailed",
    ):
        assert words in text
    assert "rank 0 ran out of GPU memory" in await on.kubectl("get", "arr", "r", "-o", "wide")
    assert "Failed" in await on.kubectl("get", "arr", "r")
    await on.kubectl("wait", "--for=condition=Failed", "arr/r", f"--timeout={PATIENCE:.0f}s")


async def test_a_container_past_its_memory_limit_is_explained_without_a_record(on: Scene) -> None:
    on.hold = {"train"}
    await on.apply()
    (pod,) = await on.seen_running()
    await on.kubelets.end(pod, End(137, "step 12", "OOMKilled"))
    failure = await on.until(lambda: on.stage().last_failure)
    assert (failure.verdict, failure.reason) == ("User", "OutOfMemory")
    assert failure.log_tail == "step 12"


async def test_a_job_that_somebody_deletes_is_looked_after_by_prepare(on: Scene) -> None:
    """It had published: the stage is complete, without another train phase."""
    on.hold = {"train"}
    await on.apply()
    (pod,) = await on.seen_running()
    on.store.train(stage_file_of(pod))
    await on.kubectl("delete", "job", pod["metadata"]["labels"][labels.JOB_NAME])
    await on.holds("Complete")
    assert on.stage().state == "Complete"
    assert len(on.jobs(phase="prepare")) == 2
    assert not on.jobs(phase="train"), "the deleted one was the only one"


async def test_a_job_that_ends_without_a_record_is_looked_after_by_prepare(on: Scene) -> None:
    on.hold = {"train"}
    await on.apply(stages=[{**TRAINS, "retries": {"infrastructure": 0}}])
    (pod,) = await on.seen_running()
    on.store.train(stage_file_of(pod))
    await on.kubelets.end(pod, End(137))
    await on.holds("Complete")
    assert len(on.jobs(phase="train")) == 1


async def test_a_job_in_the_place_of_ours_is_named(on: Scene) -> None:
    """It is not of this run: it is neither taken for ours nor touched."""
    on.part.starts = lambda pod: Waits("ContainerCreating", "")
    await on.apply()
    (ours,) = await on.until(lambda: on.jobs(phase="prepare"))
    name = ours["metadata"]["name"].replace("-prepare-", "-train-")
    container = {"name": "c", "image": "i"}
    body = {
        "metadata": {"name": name},
        "spec": {"template": {"spec": {"containers": [container], "restartPolicy": "Never"}}},
    }
    await on.api.call("POST", path_of(JOB, on.namespace), body)
    on.part.starts = lambda pod: None
    on.look_again()
    await on.holds("Failed")
    text = await on.described()
    assert f"a Job {name} that is not of this run is in its place; remove it" in text
    assert await on.api.call("GET", path_of(JOB, on.namespace, name))


async def test_two_attempts_never_run_beside_each_other(on: Scene) -> None:
    """The peer of a failed rank takes its time to stop: the next attempt waits for it."""
    on.hold = {"train"}
    on.part.on_stop = lambda pod: End(143)
    await on.apply(stages=[{**TWO_NODES, "gracePeriod": "60s"}])
    first, second = await on.seen_running(pods=2)
    on.part.dead = {first["spec"]["nodeName"]}  # its kubelet does nothing for now; its node is well
    await on.end(second, 1, message="rank 1: RuntimeError")
    await on.until(lambda: on.stage().state == "BackingOff")
    await on.until(lambda: "to end" in on.stage().message)
    assert len(on.jobs(phase="prepare")) == 1
    on.part.dead = set()
    on.look_again()
    await on.running(attempt=2, pods=2)
    assert index_of(first) == 0


async def test_what_is_published_counts_whatever_the_code_says(on: Scene) -> None:
    on.hold = {"train"}
    await on.apply()
    (pod,) = await on.seen_running()
    made = on.store.train(stage_file_of(pod)).artifact
    assert isinstance(made, PublishedArtifact)
    await on.end(pod, 1, message="the exporter crashed at exit", artifact=made, step=10)
    await on.holds("Complete")
    assert on.stage().artifact == made
    assert len(on.jobs(phase="train")) == 1


async def test_a_refused_request_of_a_scenario_is_no_outcome(on: Scene) -> None:
    """The harness itself: who breaks a rule of the API hears of it."""
    with pytest.raises(Refusal, match="404"):
        await on.api.call("GET", path_of(JOB, on.namespace, "none"))
