"""Runs that go well, on a real API server."""

import asyncio

from acereason_operator.cluster.api_server import path_of
from acereason_operator.cluster.protocol import RUN
from operators import FOUR_STAGES
from scenarios.live_api import MERGE
from scenarios.scene import TRAINS, Scene, stage_of


async def test_a_run_of_four_stages_goes_from_one_to_the_next(on: Scene) -> None:
    await on.apply(stages=FOUR_STAGES)
    status = await on.holds("Complete")
    assert [s.state for s in status.stages] == ["Complete"] * 4
    assert [stage_of(job) for job in on.jobs(phase="train")] == [s["name"] for s in FOUR_STAGES]
    assert status.progress == "4/4"
    await on.costs_nothing()


async def test_a_stage_waits_for_all_that_it_needs(on: Scene) -> None:
    left, right = ({**TRAINS, "name": name, "needs": []} for name in ("left", "right"))
    last = {**TRAINS, "name": "last", "needs": ["left", "right"]}
    on.hold = {"left", "right"}
    await on.apply(stages=[left, right, last])
    await on.seen_running("left")
    await on.seen_running("right")
    assert on.stage("last").message == "needs left, right"
    on.release("left")
    await on.reaches("Complete", "left")
    await on.until(lambda: on.stage("last").message == "needs right")
    assert not on.jobs("last")
    on.release("right")
    await on.holds("Complete")


async def test_a_run_that_others_write_all_the_time_is_carried_out_all_the_same(on: Scene) -> None:
    """Whoever writes between the operator's look and its write makes it look again."""
    await on.apply(stages=FOUR_STAGES)
    path, count = path_of(RUN, on.namespace, "r"), 0
    while not on.is_("Complete"):
        count += 1
        labelled = {"metadata": {"labels": {"touched": str(count)}}}
        await on.api.call("PATCH", path, labelled, MERGE)
        await asyncio.sleep(0.02)
    assert [s.attempts for s in on.status().stages] == [1] * 4
