"""A failure message names a log, and the log is there."""

import asyncio

from acereason_operator.cluster import labels
from acereason_operator.cluster.protocol import JOB, POD, Object
from acereason_operator.planner.status import is_true
from acereason_trainer.config.stage_file import ResultRecord
from fake_controllers import End, index_of, text_of
from jumping_time import in_jumping_time
from operators import FOUR_STAGES, a_world

TWO_NODES = {**FOUR_STAGES[0], "nodes": 2, "gracePeriod": "10m", "retries": {"user": 0}}
MINUTES_TO_STOP = 2


def test_the_log_of_a_failed_pod_outlives_a_peer_that_is_slow_to_stop() -> None:
    """The peer needs longer than the settling window, after which the attempt is given up."""

    async def story() -> None:
        async with a_world() as world:
            loop = asyncio.get_running_loop()
            asked: dict[str, float] = {}

            def script(pod: Object) -> End | None:
                if pod["metadata"]["labels"][labels.PHASE] == "prepare":
                    return world.store.work(pod)
                record = ResultRecord(exit_code=1, message="rank 1: boom")
                return End(1, text_of(record)) if index_of(pod) == 1 else None

            def on_stop(pod: Object) -> End | None:
                since = asked.setdefault(pod["metadata"]["name"], loop.time())
                return End(143) if loop.time() > since + 60 * MINUTES_TO_STOP else None

            world.controllers.script = script
            world.controllers.on_stop = on_stop
            world.apply(stages=[TWO_NODES])
            await world.until(lambda: is_true(world.status(), "Failed"))
            running = [p for p in world.cluster.all(POD) if p["status"]["phase"] == "Running"]
            assert ["deletionTimestamp" in p["metadata"] for p in running] == [True]
            failure = world.stage("prompts").last_failure
            assert failure is not None
            await world.until(lambda: not _terminating(world.cluster.all(POD)))
            await world.pass_(600)
            assert failure.pod in [p["metadata"]["name"] for p in world.cluster.all(POD)]
            assert f"kubectl logs -n default {failure.pod}" in world.status().message
            assert not _terminating(world.cluster.all(JOB))

    in_jumping_time(story())


def _terminating(bodies: list[Object]) -> list[Object]:
    return [body for body in bodies if "deletionTimestamp" in body["metadata"]]
