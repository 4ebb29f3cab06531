"""What the operator does to a cluster, one run at a time, in time that jumps."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from acereason_operator.api.status import Condition
from acereason_operator.cluster.protocol import (
    CLAIM,
    EVENT,
    JOB,
    LEASE,
    NODE,
    POD,
    RUN,
    SERVICE,
    ClusterError,
    Kind,
    Object,
    Refused,
    Throttled,
    Unreachable,
)
from acereason_operator.planner.status import is_true
from acereason_trainer.config.stage_file import Progress
from fake_cluster import Call, FakeCluster
from fake_controllers import End
from jumping_time import in_jumping_time
from operators import FOUR_STAGES, World, a_world, an_operator

QUIET = ("create Event", "create Lease", "replace Lease")


def writes(world: World) -> Counter[str]:
    """Writes besides Events and the Lease."""
    written = world.cluster.written()
    return Counter({what: n for what, n in written.items() if what not in QUIET})


def requests(world: World) -> list[str]:
    """Requests besides the Lease's."""
    return [f"{call.verb} {call.kind.kind}" for call in world.cluster.calls if call.kind != LEASE]


def failing(
    verb: str, kind: Kind, error: Callable[[], ClusterError], times: int = 1
) -> Callable[[Call], None]:
    """The first calls of that kind fail."""
    left = [times]

    def hook(call: Call) -> None:
        if (call.verb, call.kind) == (verb, kind) and left[0]:
            left[0] -= 1
            raise error()

    return hook


def is_training(pod: Object) -> bool:
    return bool(pod["metadata"]["labels"]["acereason.dev/phase"] == "train")


def is_phase(pod: Object, stage: str, phase: str) -> bool:
    of = pod["metadata"]["labels"]
    return (of["acereason.dev/stage"], of["acereason.dev/phase"]) == (stage, phase)


def complete(world: World, name: str = "r") -> bool:
    return is_true(world.status(name), "Complete")


# What it costs


def test_a_run_without_incident_costs_eight_jobs_and_at_most_26_writes() -> None:
    async def story() -> None:
        async with a_world() as world:
            world.apply()
            await world.until(lambda: complete(world))
            written = writes(world)
            assert written["create Job"] == 8
            assert written["write_status AceReasonRun"] == 13
            assert written.total() <= 26
            reads = [r for r in requests(world) if r.startswith("get")]
            assert reads == [], "a run without incident needs no read of its own"

    in_jumping_time(story())


def test_a_complete_run_costs_no_request() -> None:
    async def story() -> None:
        async with a_world() as world:
            world.apply()
            await world.until(lambda: complete(world))
            await world.pass_(120)
            world.cluster.calls.clear()
            await world.pass_(1800)
            assert set(requests(world)) <= {f"list {k.kind}" for k in (RUN, JOB, POD)}

    in_jumping_time(story())


def test_a_suspended_run_costs_no_request() -> None:
    async def story() -> None:
        async with a_world() as world:
            world.apply()
            await world.until(lambda: world.stage("sft").state == "Preparing")
            world.edit(lambda run: run["spec"].update(suspend=True))
            await world.until(lambda: is_true(world.status(), "Suspended"))
            await world.pass_(60)
            world.cluster.calls.clear()
            await world.pass_(1800)
            assert set(requests(world)) <= {f"list {k.kind}" for k in (RUN, JOB, POD)}
            world.edit(lambda run: run["spec"].update(suspend=False))
            await world.until(lambda: complete(world))

    in_jumping_time(story())


def test_a_restarted_operator_writes_nothing_that_is_written() -> None:
    async def story() -> None:
        async with a_world() as world:
            world.controllers.script = lambda pod: (
                None if is_phase(pod, "sft", "train") else world.store.work(pod)
            )
            world.apply()
            await world.until(lambda: world.stage("sft").state == "Running")
            await world.operator.stop()
            world.cluster.watchers.clear()
            world.cluster.calls.clear()
            world.operators[0] = await an_operator(world.cluster, "next")
            await world.pass_(60)
            assert writes(world) == {}

    in_jumping_time(story())


def test_a_restart_does_not_make_the_runs_own_objects_again() -> None:
    async def story() -> None:
        async with a_world() as world:
            world.apply()
            await world.until(lambda: world.stage("sft").state == "Running")
            await world.operator.stop()
            world.cluster.watchers.clear()
            world.operators[0] = await an_operator(world.cluster, "next")
            await world.until(lambda: complete(world))
            assert writes(world)["apply NetworkPolicy"] == 1

    in_jumping_time(story())


# Answers that are no success


def test_an_edit_between_look_and_write_is_looked_at_and_is_no_error() -> None:
    async def story() -> None:
        async with a_world() as world:
            edited = [False]

            def edit(call: Call) -> None:
                if call.verb == "write_status" and not edited[0]:
                    edited[0] = True
                    world.edit(lambda run: run["spec"].update(ttlAfterFinished="1h"))

            world.cluster.watchers.clear()  # the operator learns of it by the Conflict alone
            world.cluster.before = edit
            world.apply()
            world.operator.relist.soon(RUN)
            await world.until(lambda: world.stage("prompts").state == "Preparing", within=20)
            assert world.status().observed_generation == 2
            value = world.operator.metrics.registry.get_sample_value
            assert not value("acereason_reconcile_total", {"result": "error"})
            assert not value("acereason_reconcile_total", {"result": "conflict"})

    in_jumping_time(story())


@pytest.mark.parametrize("effect", ["before", "after"])
@pytest.mark.parametrize(
    ("verb", "kind"),
    [("write_status", RUN), ("create", JOB), ("apply", None), ("create", EVENT)],
    ids=str,
)
def test_a_call_without_an_answer_is_made_good_whether_it_took_effect_or_not(
    verb: str, kind: Kind | None, effect: str
) -> None:
    async def story() -> None:
        async with a_world() as world:
            left = [2]

            def hook(call: Call) -> None:
                if call.verb == verb and kind in (None, call.kind) and left[0]:
                    left[0] -= 1
                    raise Unreachable("connection reset")

            setattr(world.cluster, effect, hook)
            world.apply()
            await world.until(lambda: complete(world))
            assert len(world.cluster.all(JOB)) == 8
            assert left == [0]

    in_jumping_time(story())


def test_a_trouble_that_goes_on_is_told_to_whoever_looks_at_the_run() -> None:
    """A webhook that does not answer, for example: nothing of it can stand in status."""
    said = 'failed calling webhook "policy.example.com": context deadline exceeded'

    async def story() -> None:
        async with a_world() as world:
            world.cluster.before = failing("create", JOB, lambda: Unreachable(said, 500), 10**6)
            world.apply()
            await world.pass_(3)
            assert world.cluster.all(EVENT) == [], "it may be a hiccup"
            await world.until(lambda: world.cluster.all(EVENT), within=60)
            (event,) = world.cluster.all(EVENT)
            assert (event["type"], event["reason"]) == ("Warning", "RunDelayed")
            assert event["note"] == f"it cannot be carried out now and is tried again: {said}"
            assert event["regarding"]["name"] == "r"
            posted = world.cluster.written()["create Event"]
            await world.pass_(4 * 3600)
            assert 2 <= world.cluster.written()["create Event"] - posted <= 8, "about one an hour"
            world.cluster.before = lambda call: None
            await world.until(lambda: complete(world))

    in_jumping_time(story())


def test_a_server_that_asks_for_patience_gets_it() -> None:
    async def story() -> None:
        async with a_world() as world:
            world.cluster.before = failing("write_status", RUN, lambda: Throttled("slow", 40.0))
            world.apply()
            await world.pass_(39)
            assert world.status().stages == []
            await world.until(lambda: world.status().stages != [], within=3)

    in_jumping_time(story())


def test_a_job_that_the_server_refuses_shows_in_status_with_the_servers_sentence() -> None:
    async def story() -> None:
        async with a_world() as world:
            said = 'User "operator" cannot create resource "jobs" in API group "batch"'
            world.cluster.before = failing("create", JOB, lambda: Refused(said, 403), times=3)
            world.apply()
            await world.until(lambda: world.stage("prompts").state == "BackingOff")
            failure = world.stage("prompts").last_failure
            assert failure is not None and said in failure.message
            assert world.stage("prompts").spent.infrastructure == 1
            await world.until(lambda: complete(world))

    in_jumping_time(story())


@pytest.mark.parametrize("kind", [JOB, CLAIM])
def test_a_quota_on_jobs_or_claims_is_waited_for_as_one_on_pods_is(kind: Kind) -> None:
    said = 'x "y" is forbidden: exceeded quota: small, requested: 1, used: 8, limited: 8'

    async def story() -> None:
        async with a_world() as world:
            tries = 0

            def full(call: Call) -> None:
                nonlocal tries
                if (call.verb, call.kind) == ("create", kind):
                    tries += 1
                    raise Refused(said, 403)

            world.cluster.before = full
            world.apply(storage={"claimTemplate": {"name": "runs", "storage": "1Ti"}})
            await world.until(lambda: said in world.status().message, within=10)
            written, tries = writes(world)["write_status AceReasonRun"], 0
            await world.pass_(3600)
            assert writes(world)["write_status AceReasonRun"] == written
            assert 40 <= tries <= 90, "about one a minute"
            world.cluster.before = lambda call: None
            await world.until(lambda: complete(world))
            assert world.stage("prompts").attempts == 1
            assert not any(world.stage("prompts").spent.dump().values()), "nobody pays"

    in_jumping_time(story())


def test_a_job_that_was_made_without_an_answer_is_found_behind_its_own_quota() -> None:
    """The server judges quota before it looks whether the name is taken."""
    said = 'jobs.batch "x" is forbidden: exceeded quota: one, requested: 1, used: 1, limited: 1'

    async def story() -> None:
        async with a_world() as world:
            made: list[str] = []

            def lost(call: Call) -> None:
                if (call.verb, call.kind) == ("create", JOB) and not made:
                    made.append(call.name)
                    raise Unreachable("connection reset")

            def full(call: Call) -> None:
                if (call.verb, call.kind) == ("create", JOB) and call.name in made:
                    raise Refused(said, 403)

            world.cluster.after, world.cluster.before = lost, full
            world.cluster.watchers.clear()  # nobody tells of the Job
            world.apply()
            world.operator.relist.soon(RUN)
            await world.until(lambda: world.stage("prompts").attempts == 1, within=20)
            await world.pass_(5)
            assert "quota" not in world.status().message
            assert made

    in_jumping_time(story())


def test_a_job_that_can_never_be_made_fails_the_stage_with_the_servers_sentence() -> None:
    async def story() -> None:
        async with a_world() as world:
            said = 'Job "x" is invalid: spec.template.spec.volumes[0].name: Required value'
            world.cluster.before = failing("create", JOB, lambda: Refused(said, 422))
            world.apply()
            await world.until(lambda: is_true(world.status(), "Failed"))
            assert said in world.stage("prompts").message

    in_jumping_time(story())


def test_a_strangers_job_in_the_place_of_ours_is_named_and_left_alone() -> None:
    async def story() -> None:
        async with a_world() as world:

            def squat(call: Call) -> None:
                if (call.verb, call.kind) == ("create", JOB) and not world.cluster.all(JOB):
                    stranger = {"metadata": {"name": call.name}, "spec": {"completions": 1}}
                    world.cluster.put(JOB, stranger)

            world.cluster.before = squat
            world.apply()
            await world.until(lambda: world.stage("prompts").last_failure is not None)
            failure = world.stage("prompts").last_failure
            assert failure is not None and "not of this run" in failure.message
            (job,) = [j for j in world.cluster.all(JOB) if not j["metadata"].get("labels")]
            assert "deletionTimestamp" not in job["metadata"]

    in_jumping_time(story())


# Runs that cannot be carried out


@pytest.mark.parametrize(
    ("spec", "reason", "said"),
    [
        ({"storage": {"directory": "/data"}}, "Unsupported", "spec.storage.directory"),
        ({"seed": -5}, "Unreadable", "spec.seed"),
        ({"stages": [{"name": "a", "sft": {}, "needs": ["b"]}]}, "Unreadable", "needs"),
    ],
)
def test_a_run_that_cannot_be_carried_out_says_why_and_is_left_until_it_is_edited(
    spec: dict[str, Any], reason: str, said: str
) -> None:
    async def story() -> None:
        async with a_world() as world:
            world.apply(**spec)
            await world.until(lambda: is_true(world.status(), "Failed"))
            (failed,) = [c for c in world.status().conditions if c.type == "Failed"]
            assert failed.reason == reason
            assert said in failed.message
            world.cluster.calls.clear()
            await world.pass_(1800)
            assert writes(world) == {}

            def mended(run: Object) -> None:
                good = {"storage": {"claim": "runs"}, "seed": 0}
                run["spec"] |= good
                if "stages" in spec:
                    del run["spec"]["stages"][0]["needs"]
                    data = {"path": "rows.jsonl"}
                    run["spec"]["stages"][0]["inputs"] = {"data": data}

            world.edit(mended)
            await world.until(lambda: complete(world))

    in_jumping_time(story())


def running_jobs(world: World) -> list[str]:
    """Names of Jobs whose pods were not asked to end."""
    return [
        job["metadata"]["name"]
        for job in world.cluster.all(JOB)
        if "deletionTimestamp" not in job["metadata"] and not job["status"].get("conditions")
    ]


def test_nothing_runs_under_a_run_that_an_edit_made_impossible_and_nobody_pays_for_it() -> None:
    async def story() -> None:
        async with a_world() as world:
            world.controllers.script = lambda pod: (
                None if is_phase(pod, "sft", "train") else world.store.work(pod)
            )
            world.apply()
            await world.until(lambda: world.stage("sft").state == "Running")
            world.edit(lambda run: run["spec"].update(storage={"directory": "/data"}))
            await world.until(lambda: is_true(world.status(), "Failed"))
            await world.pass_(60)
            assert running_jobs(world) == []
            world.controllers.script = world.store.work
            world.edit(lambda run: run["spec"].update(storage={"claim": "runs"}))
            await world.until(lambda: complete(world))
            spent = world.stage("sft").spent
            assert (spent.user, spent.infrastructure) == (0, 0)

    in_jumping_time(story())


def test_what_runs_goes_on_under_a_run_that_this_version_cannot_read() -> None:
    async def story() -> None:
        async with a_world() as world:
            world.controllers.script = lambda pod: (
                None if is_phase(pod, "sft", "train") else world.store.work(pod)
            )
            world.apply()
            await world.until(lambda: world.stage("sft").state == "Running")
            before = running_jobs(world)
            world.edit(lambda run: run["spec"].update(seed=-5))
            await world.until(lambda: is_true(world.status(), "Failed"))
            await world.pass_(60)
            assert running_jobs(world) == before != []
            (failed,) = [c for c in world.status().conditions if c.type == "Failed"]
            assert "run are left alone" in failed.message

    in_jumping_time(story())


def test_the_progress_of_a_run_that_cannot_be_read_is_not_asked_for() -> None:
    async def story() -> None:
        async with a_world() as world:
            world.controllers.script = lambda pod: (
                None if is_phase(pod, "sft", "train") else world.store.work(pod)
            )
            world.apply()
            await world.until(lambda: world.stage("sft").state == "Running")
            world.edit(lambda run: run["spec"].update(seed=-5))
            await world.until(lambda: is_true(world.status(), "Failed"))

            def reads() -> float | None:
                return world.operator.metrics.registry.get_sample_value(
                    "acereason_progress_reads_total", {"result": "unreachable"}
                )

            before = reads()
            await world.pass_(600)
            assert reads() == before

    in_jumping_time(story())


def test_a_service_that_somebody_deleted_is_made_again_for_the_next_attempt() -> None:
    async def story() -> None:
        async with a_world(first_backoff="1s") as world:
            deleted = False

            def script(pod: Object) -> End | None:
                nonlocal deleted
                if is_training(pod) and not deleted:
                    (service,) = world.cluster.all(SERVICE)
                    world.cluster.remove(SERVICE, "default", service["metadata"]["name"])
                    deleted = True
                if is_training(pod) and not world.cluster.all(SERVICE):
                    return End(75, "no peer found")
                return world.store.work(pod)

            world.controllers.script = script
            world.apply(stages=[{**FOUR_STAGES[0], "nodes": 2}])
            await world.until(lambda: complete(world))
            assert world.stage("prompts").attempts == 2

    in_jumping_time(story())


def test_a_status_of_another_version_is_left_as_it_is() -> None:
    async def story() -> None:
        async with a_world() as world:
            world.apply()
            await world.until(lambda: world.stage("prompts").state == "Complete")
            world.edit(lambda run: run["status"].update(fromTheFuture=1))
            await world.pass_(1)
            world.cluster.calls.clear()
            await world.pass_(600)
            assert writes(world) == {}

    in_jumping_time(story())


# What is believed


def test_without_any_watch_a_run_is_carried_out_by_the_lists_alone() -> None:
    async def story() -> None:
        async with a_world(relist_seconds=20) as world:
            world.cluster.watchers.clear()
            world.apply()
            await world.until(lambda: complete(world))
            assert writes(world)["create Job"] == 8

    in_jumping_time(story())


def test_a_job_that_the_cache_does_not_hold_is_not_believed_to_be_gone() -> None:
    """A new leader whose watch lags finds the running Job by asking for it."""

    async def story() -> None:
        async with a_world() as world:
            world.controllers.script = lambda pod: (
                None if is_phase(pod, "sft", "train") else world.store.work(pod)
            )
            world.apply()
            await world.until(lambda: world.stage("sft").state == "Running")
            (job,) = world.cluster.all(JOB, stage="sft", phase="train")
            meta = job["metadata"]
            name = (meta["namespace"], meta["name"])
            world.operator.seen._drop(JOB, name)
            world.cluster.calls.clear()
            world.operator.queue.add(("default", "r"))
            await world.pass_(10)
            assert requests(world).count("get Job") == 1
            assert writes(world) == {}
            assert world.stage("sft").state == "Running"

    in_jumping_time(story())


def test_a_job_that_is_gone_is_believed_to_be_gone_after_one_read() -> None:
    async def story() -> None:
        async with a_world() as world:
            going_on = [True]
            world.controllers.script = lambda pod: (
                None if is_phase(pod, "sft", "train") and going_on else world.store.work(pod)
            )
            world.apply()
            await world.until(lambda: world.stage("sft").state == "Running")
            (job,) = world.cluster.all(JOB, stage="sft", phase="train")
            going_on.clear()
            world.cluster.calls.clear()
            world.cluster.remove(JOB, "default", job["metadata"]["name"])
            await world.until(lambda: world.stage("sft").state == "BackingOff")
            assert requests(world).count("get Job") == 1
            await world.until(lambda: complete(world))

    in_jumping_time(story())


def test_a_job_that_ends_before_its_pods_are_seen_to_end_is_judged_by_the_pods() -> None:
    """The watch of Pods lags behind the watch of Jobs."""

    async def story() -> None:
        async with a_world() as world:
            world.cluster.deliver = lambda event: () if event.kind == POD else (event,)
            world.apply()
            await world.until(lambda: complete(world), within=600)
            assert all(stage.last_failure is None for stage in world.status().stages)
            assert writes(world)["create Job"] == 8

    in_jumping_time(story())


def test_the_node_of_a_pod_that_ended_badly_is_asked_for_and_decides_who_pays() -> None:
    async def story() -> None:
        async with a_world() as world:
            lost = [False]

            def script(pod: Object) -> End | None:
                if is_phase(pod, "sft", "train") and not lost[0]:
                    lost[0] = True
                    world.controllers.node_is(pod["spec"]["nodeName"], "Unknown")
                    return End(1)
                return world.store.work(pod)

            world.controllers.script = script
            world.apply()
            await world.until(lambda: world.stage("sft").last_failure is not None)
            failure = world.stage("sft").last_failure
            assert failure is not None and failure.verdict == "Infrastructure"
            assert requests(world).count("get Node") <= 2
            await world.until(lambda: complete(world))

    in_jumping_time(story())


@pytest.mark.parametrize("nodes", ["may be read", "may not be read"])
def test_a_node_that_is_lost_with_its_pod_ends_the_attempt(nodes: str) -> None:
    """Its pod stays for ever: marked as disrupted, terminating, Running. With Roles in some
    namespaces alone the operator knows nothing of its node."""

    async def story() -> None:
        async with a_world() as world:
            trains = lambda pod: is_phase(pod, "sft", "train")  # noqa: E731
            world.controllers.script = lambda pod: (
                None if trains(pod) and world.stage("sft").attempts == 1 else world.store.work(pod)
            )
            if nodes == "may not be read":
                forbidden = lambda: Refused("nodes is forbidden", 403)  # noqa: E731
                world.cluster.before = failing("get", NODE, forbidden, times=10_000)
            world.apply()
            await world.until(lambda: world.stage("sft").state == "Running")
            pod = next(filter(trains, world.cluster.all(POD)))
            world.controllers.node_is(pod["spec"]["nodeName"], "Unknown")
            world.controllers.disrupt(pod, "DeletionByTaintManager")
            await world.until(lambda: complete(world), within=300)
            left = world.cluster.one(POD, "default", pod["metadata"]["name"])
            assert left["status"]["phase"] == "Running", "nobody ended it"
            failure = world.stage("sft").last_failure
            assert failure is not None and failure.reason == "Disrupted"
            spent = world.stage("sft").spent
            assert (spent.infrastructure, spent.user) == (1, 0)

    in_jumping_time(story())


def test_an_operator_that_may_not_read_nodes_takes_them_for_well() -> None:
    async def story() -> None:
        async with a_world() as world:
            left = [True]

            def script(pod: Object) -> End | None:
                if is_phase(pod, "sft", "train") and left:
                    left.clear()
                    return End(1)
                return world.store.work(pod)

            world.controllers.script = script
            forbidden = lambda: Refused("nodes is forbidden", 403)  # noqa: E731
            world.cluster.before = failing("get", NODE, forbidden, times=1000)
            world.apply()
            await world.until(lambda: complete(world))
            failure = world.stage("sft").last_failure
            assert failure is not None and failure.verdict == "User"

    in_jumping_time(story())


def test_pods_that_a_quota_refuses_are_explained_by_the_jobs_events() -> None:
    async def story() -> None:
        async with a_world() as world:
            world.apply()
            await world.until(lambda: world.cluster.all(JOB) != [], moving=False)
            (job,) = world.cluster.all(JOB)
            said = 'pods "x" is forbidden: exceeded quota'
            world.cluster.put(
                EVENT,
                {
                    "metadata": {"name": "e", "namespace": "default"},
                    "reason": "FailedCreate",
                    "note": said,
                    "regarding": {"kind": "Job", "name": job["metadata"]["name"]},
                },
            )
            await world.until(
                lambda: said in world.stage("prompts").message, within=30, moving=False
            )
            await world.until(lambda: complete(world))
            assert world.stage("prompts").message == ""

    in_jumping_time(story())


@pytest.mark.parametrize("phase", ["prepare", "train"])
def test_a_pod_that_cannot_be_set_up_is_explained_by_its_events_and_an_edit_is_the_cure(
    phase: str,
) -> None:
    """Its containers say no more than that they are being created."""
    wrong = 'MountVolume.SetUp failed for volume "keys": secret "kyes" not found'

    def with_keys(secret: str) -> dict[str, Any]:
        volume = {"name": "keys", "secret": {"secretName": secret}}
        return {**FOUR_STAGES[0], "podTemplate": {"spec": {"volumes": [volume]}}}

    def is_stuck(pod: Object) -> bool:
        secrets = [v.get("secret", {}).get("secretName") for v in pod["spec"]["volumes"]]
        return is_phase(pod, "prompts", phase) and "kyes" in secrets

    async def story() -> None:
        async with a_world() as world:
            world.controllers.can_be_set_up = lambda pod: not is_stuck(pod)
            world.apply(stages=[with_keys("kyes")])
            await world.until(lambda: any(map(is_stuck, world.cluster.all(POD))))
            await world.pass_(5)
            (name,) = (p["metadata"]["name"] for p in world.cluster.all(POD) if is_stuck(p))
            told = [("Scheduled", "to node-0", "12:00:00"), ("FailedMount", wrong, "12:00:02")]
            for reason, note, at in told:
                event = {
                    "metadata": {"name": reason.lower(), "namespace": "default"},
                    "reason": reason,
                    "note": note,
                    "deprecatedLastTimestamp": f"2026-01-31T{at}Z",
                    "regarding": {"kind": "Pod", "name": name},
                }
                world.cluster.put(EVENT, event)
            began = asyncio.get_running_loop().time()
            world.cluster.calls.clear()
            await world.until(lambda: wrong in world.stage("prompts").message, within=70)
            await world.until(lambda: is_true(world.status(), "Stalled"), within=180)
            assert f"pod {name}: FailedMount: {wrong}" in world.status().message
            minutes = (asyncio.get_running_loop().time() - began) / 60
            assert requests(world).count("list Event") <= minutes + 1
            world.edit(lambda run: run["spec"].update(stages=[with_keys("keys")]))
            await world.until(lambda: complete(world))
            assert not any(world.stage("prompts").spent.dump().values()), "nobody pays"

    in_jumping_time(story())


@pytest.mark.parametrize("back", ["when it is read again", "for the next list"])
def test_a_run_that_was_not_found_once_goes_on(back: str) -> None:
    """Its definition was being put in its place again."""

    async def story() -> None:
        async with a_world() as world:
            objects, at = world.cluster._objects, (RUN, "default", "r")
            away: list[Object] = []

            def vanish(call: Call) -> None:
                if (call.verb, call.kind) == ("write_status", RUN) and not away:
                    away.append(objects.pop(at))
                elif (call.verb, call.kind) == ("get", RUN) and back.startswith("when"):
                    objects[at] = away[0]

            def come_back(call: Call) -> None:
                if (call.verb, call.kind) == ("get", RUN):
                    objects[at] = away[0]

            world.apply()
            await world.until(lambda: world.stage("sft").state == "Preparing")
            world.cluster.before, world.cluster.after = vanish, come_back
            await world.until(lambda: away)
            await world.until(lambda: at in objects, moving=False)
            assert (world.operator.seen.count(RUN) == 1) == back.startswith("when")
            await world.until(lambda: complete(world), within=1800)

    in_jumping_time(story())


# Who may write


def test_a_replica_that_does_not_lead_writes_nothing() -> None:
    async def story() -> None:
        async with a_world(replicas=3) as world:
            world.apply()
            await world.until(lambda: complete(world))
            assert writes(world)["create Job"] == 8
            assert writes(world)["write_status AceReasonRun"] == 13

    in_jumping_time(story())


def test_a_leader_that_was_paused_in_the_middle_of_a_reconcile_writes_no_more() -> None:
    """It wakes up between two of its calls, long after another replica has finished the run."""

    async def story() -> None:
        async with a_world(replicas=2) as world:
            first = next(o for o in world.operators if o.election.may_write())
            paused, go_on = asyncio.Event(), asyncio.Event()

            async def pause(call: Call) -> None:
                leads = first.election.may_write()
                if (call.verb, call.kind) == ("apply", call.kind) and leads and not paused.is_set():
                    paused.set()
                    await go_on.wait()

            # A paused process renews nothing either.
            frozen = first.election.cluster = _Freezable(world.cluster)
            world.cluster.before = pause
            world.apply()
            await world.until(paused.is_set)
            frozen.stopped = True
            await world.until(lambda: complete(world))
            before = writes(world)
            go_on.set()
            await world.pass_(60)
            late = writes(world) - before
            assert late == Counter({"apply NetworkPolicy": 1}), "the call that was under way"
            assert len(world.cluster.all(JOB)) == 8

    in_jumping_time(story())


def test_a_replica_that_loses_the_lease_in_the_middle_of_a_reconcile_reads_no_progress_for_it() -> (
    None
):
    async def story() -> None:
        async with a_world() as world:
            world.controllers.script = lambda pod: (
                None if is_phase(pod, "sft", "train") else world.store.work(pod)
            )
            world.apply()
            await world.until(lambda: world.stage("sft").state == "Running")
            operator = world.operator
            paused, go_on = asyncio.Event(), asyncio.Event()

            async def pause(call: Call) -> None:
                if (call.verb, call.kind) == ("get", JOB):
                    paused.set()
                    await go_on.wait()

            world.cluster.before = pause
            (job,) = world.cluster.all(JOB, stage="sft", phase="train")
            operator.seen._drop(JOB, ("default", job["metadata"]["name"]))
            operator.queue.add(("default", "r"))
            await paused.wait()
            frozen = operator.election.cluster = _Freezable(world.cluster)
            frozen.stopped = True
            await operator.election.following.wait()
            go_on.set()
            await world.pass_(60)

            def reads() -> float | None:
                return operator.metrics.registry.get_sample_value(
                    "acereason_progress_reads_total", {"result": "unreachable"}
                )

            before = reads()
            await world.pass_(600)
            assert reads() == before
            frozen.stopped = False
            await operator.election.leading.wait()
            await world.pass_(600)
            assert (reads() or 0) > (before or 0), "it leads again"

    in_jumping_time(story())


class _Freezable:
    """The cluster as a process sees it that may be stopped: its calls then never return."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster = cluster
        self.stopped = False

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **more: Any) -> Any:
            while self.stopped:
                await asyncio.sleep(1)
            return await getattr(self.cluster, name)(*args, **more)

        return call


def test_an_operator_that_is_asked_to_end_finishes_what_it_has_begun() -> None:
    async def story() -> None:
        async with a_world() as world:
            begun = asyncio.Event()

            async def slow(call: Call) -> None:
                if call.verb == "create" and call.kind == JOB:
                    begun.set()
                    await asyncio.sleep(5)

            world.cluster.before = slow
            world.apply()
            world.apply("waits")
            await world.until(begun.is_set, moving=False)
            await world.operator.stop()
            assert len(world.cluster.all(JOB)) >= 1
            assert (
                world.cluster.one(LEASE, "default", "acereason-operator")["spec"]["holderIdentity"]
                == ""
            )
            world.cluster.calls.clear()
            await world.pass_(60)
            assert world.cluster.calls == []

    in_jumping_time(story())


# What people are told


def test_events_tell_of_each_stage_and_of_the_end() -> None:
    async def story() -> None:
        async with a_world() as world:
            world.apply()
            await world.until(lambda: complete(world))
            reasons = Counter(event["reason"] for event in world.cluster.all(EVENT))
            assert reasons == {"StageComplete": 4, "RunComplete": 1}
            told = world.cluster.all(EVENT)[0]
            assert told["regarding"]["name"] == "r"
            assert (
                told["regarding"]["uid"]
                == world.cluster.one(RUN, "default", "r")["metadata"]["uid"]
            )

    in_jumping_time(story())


def test_a_run_that_is_deleted_is_forgotten() -> None:
    async def story() -> None:
        async with a_world() as world:
            world.apply()
            await world.until(lambda: world.stage("sft").state == "Preparing")
            world.cluster.remove(RUN, "default", "r")
            await world.pass_(30)
            assert world.cluster.all(JOB) == []
            world.cluster.calls.clear()
            await world.pass_(1800)
            assert writes(world) == {}
            seen = world.operator.seen
            assert [seen.count(kind) for kind in (RUN, JOB, POD)] == [0, 0, 0]
            assert len(world.operator.reconciler.reader) == 0

    in_jumping_time(story())


SECONDS_OF_NOTES = 1800
"""Of notes that go to whichever run is looked at when there is room for one: of the 135 there is
one for each of 8 runs, but for a chance of one in millions."""


def test_a_decision_does_not_wait_behind_notes_of_progress() -> None:
    """8 runs whose steps move want 16 notes in a minute, with 9 writes in that time."""

    async def story() -> None:
        async with a_world(writes_per_second=0.15, write_burst=12, progress_seconds=30) as world:
            loop, script = asyncio.get_running_loop(), world.controllers.script

            def moving(job: str) -> Progress:
                return Progress(step=int(loop.time() // 5))

            world.operator.reconciler.look.progress = moving
            world.controllers.script = lambda pod: None if is_training(pod) else script(pod)
            names = [f"r{i}" for i in range(8)]
            for number, name in enumerate(names):
                world.apply(name, seed=number, stages=FOUR_STAGES[:1])

            def steps() -> list[int]:
                return [world.stage("prompts", name).step for name in names]

            def all_run() -> bool:
                return all(world.stage("prompts", name).state == "Running" for name in names)

            await world.until(all_run, within=3600)
            written, before = writes(world)["write_status AceReasonRun"], steps()
            order = random.Random(1)
            for _ in range(SECONDS_OF_NOTES // 5):
                for name in order.sample(names, len(names)):
                    world.operator.queue.add(("default", name))
                await asyncio.sleep(5)
            notes = writes(world)["write_status AceReasonRun"] - written
            assert 0.7 < notes / (SECONDS_OF_NOTES * 0.15 / 2) <= 1.05, (
                "half of the rate is used for notes"
            )
            assert all(now > then for now, then in zip(steps(), before, strict=True))
            applied = loop.time()
            world.apply("new", seed=1000, stages=FOUR_STAGES[:1])
            while not world.cluster.all(JOB, run="new"):
                await asyncio.sleep(0.1)
                assert loop.time() < applied + 1

    in_jumping_time(story())


def test_progress_that_cannot_be_read_is_a_condition_while_it_lasts_and_no_error() -> None:
    """Two writes in all: one when it begins and one when it ends."""

    async def story() -> None:
        async with a_world() as world:
            unknown: dict[str, str | None] = {"why": None}
            world.operator.reconciler.look.progress_unknown = lambda job: unknown["why"]
            world.controllers.script = lambda pod: (
                None if is_phase(pod, "sft", "train") else world.store.work(pod)
            )
            world.apply()
            await world.until(lambda: world.stage("sft").state == "Running")
            await world.pass_(60)
            world.cluster.calls.clear()

            async def told(why: str | None) -> list[Condition]:
                unknown["why"] = why
                world.operator.queue.add(("default", "r"))
                await world.pass_(600)
                return [c for c in world.status().conditions if c.type == "ProgressUnknown"]

            (condition,) = await told("pod r-sft-1-train-0 at 10.0.0.1:9400: refused")
            assert (condition.status, condition.reason) == ("True", "NotTold")
            assert "stage sft goes on" in condition.message
            assert "pod r-sft-1-train-0 at 10.0.0.1:9400: refused" in condition.message
            assert world.status().state == "Running"
            assert await told(None) == [condition], "another leader has not asked yet"
            assert await told("") == []
            assert writes(world) == {"write_status AceReasonRun": 2}

    in_jumping_time(story())
