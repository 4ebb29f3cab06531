"""A person corrects what kept a run from working, and it works."""

from collections.abc import Callable

from acereason_operator.cluster import labels
from acereason_operator.cluster.protocol import JOB, Object
from acereason_operator.planner.status import is_true
from fake_controllers import End
from jumping_time import in_jumping_time
from operators import FOUR_STAGES, a_world

ONE_STAGE = FOUR_STAGES[:1]
NO_CLAIM = 'persistentvolumeclaim "typo" not found'


def claim_of(spec: Object) -> str:
    """Name of the claim that a pod of this spec mounts."""
    claims = (volume.get("persistentVolumeClaim") for volume in spec["volumes"])
    return next(claim["claimName"] for claim in claims if claim)


def test_a_claim_whose_name_was_wrong_can_be_corrected() -> None:
    async def story() -> None:
        async with a_world() as world:
            world.controllers.schedulable = lambda pod: claim_of(pod["spec"]) != "typo"
            world.controllers.no_room = f"0/4 nodes are available: {NO_CLAIM}."
            world.apply(stages=ONE_STAGE, storage={"claim": "typo"})
            await world.until(lambda: is_true(world.status(), "Stalled"))
            assert NO_CLAIM in world.status().message
            world.edit(lambda run: run["spec"].update(storage={"claim": "runs"}))
            await world.until(lambda: is_true(world.status(), "Complete"))
            assert claim_of(world.cluster.all(JOB)[-1]["spec"]["template"]["spec"]) == "runs"

    in_jumping_time(story())


def test_a_queue_whose_name_was_wrong_can_be_corrected_or_given_up() -> None:
    async def story(correct: Callable[[Object], None], queue: str | None) -> None:
        async with a_world() as world:
            world.apply(stages=ONE_STAGE, queue={"name": "gpsu"})
            await world.until(lambda: "waits in the queue" in world.stage("prompts").message)
            world.edit(lambda run: correct(run["spec"]))
            await world.until(lambda: world.stage("prompts").attempts == 2)
            await world.pass_(60)
            train = [j for j in world.cluster.all(JOB) if j["metadata"]["name"].find("train") > 0]
            assert [j["metadata"]["labels"].get(labels.QUEUE) for j in train] == [queue]
            assert is_true(world.status(), "Complete") == (queue is None)

    in_jumping_time(story(lambda spec: spec["queue"].update(name="gpus"), "gpus"))
    in_jumping_time(story(lambda spec: spec.pop("queue"), None))


def test_a_run_whose_volume_was_full_goes_on_on_another() -> None:
    async def story() -> None:
        async with a_world(first_backoff="1s") as world:

            def script(pod: Object) -> End | None:
                full = claim_of(pod["spec"]) == "full"
                trains = pod["metadata"]["labels"][labels.PHASE] == "train"
                return End(1, "No space left") if full and trains else world.store.work(pod)

            world.controllers.script = script
            world.apply(stages=ONE_STAGE, storage={"claim": "full"})
            await world.until(lambda: is_true(world.status(), "Failed"))
            world.edit(lambda run: run["spec"].update(storage={"claim": "larger"}))
            await world.until(lambda: is_true(world.status(), "Complete"))

    in_jumping_time(story())


def test_a_failed_run_is_tried_again_when_it_is_suspended_and_resumed() -> None:
    """What was wrong was not in its file: no edit would show that it is mended."""

    async def story() -> None:
        async with a_world(first_backoff="1s") as world:
            absent = [True]

            def script(pod: Object) -> End | None:
                return End(78, "no such revision") if absent[0] else world.store.work(pod)

            world.controllers.script = script
            world.apply(stages=ONE_STAGE)
            await world.until(lambda: is_true(world.status(), "Failed"))
            assert "suspend the run, kubectl wait" in world.status().message
            absent[0] = False
            world.edit(lambda run: run["spec"].update(suspend=True))
            await world.until(lambda: is_true(world.status(), "Suspended"))
            assert not is_true(world.status(), "Failed")
            await world.pass_(60)
            assert not is_true(world.status(), "Complete")
            world.edit(lambda run: run["spec"].update(suspend=False))
            await world.until(lambda: is_true(world.status(), "Complete"))

    in_jumping_time(story())


def test_a_prepare_that_needs_more_memory_fails_soon_and_can_be_given_more() -> None:
    async def story() -> None:
        async with a_world(first_backoff="1s") as world:

            def script(pod: Object) -> End | None:
                (container,) = pod["spec"]["containers"]
                small = container["name"] == "prepare" and (
                    container["resources"]["limits"]["memory"] == "2Gi"
                )
                return End(137, "importing", "OOMKilled") if small else world.store.work(pod)

            world.controllers.script = script
            world.apply(stages=ONE_STAGE)
            await world.until(lambda: is_true(world.status(), "Failed"))
            assert world.stage("prompts").attempts == 3, "the user's budget, not the machines'"
            assert "memory of the container prepare in preparePodTemplate" in world.status().message
            larger = {"name": "prepare", "resources": {"limits": {"memory": "8Gi"}}}
            template = {"spec": {"containers": [larger]}}
            world.edit(lambda run: run["spec"].update(defaults={"preparePodTemplate": template}))
            await world.until(lambda: is_true(world.status(), "Complete"))

    in_jumping_time(story())
