"""The operator as a whole: how it starts, takes turns with others, and ends."""

import asyncio
import logging

import pytest
from acereason_operator.cluster.protocol import LEASE, RUN
from fake_cluster import Call
from jumping_time import in_jumping_time
from operators import a_world


@pytest.mark.parametrize(
    ("verb", "kind", "task"),
    [("replace", LEASE, "election"), ("list", RUN, "relist of acereasonruns")],
    ids=["the Lease", "a list"],
)
def test_a_task_that_dies_of_a_fault_ends_the_operator(
    verb: str, kind: object, task: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Without it nobody would renew the Lease, or correct the watches, ever again."""

    async def story() -> None:
        async with a_world() as world:

            def odd_answer(call: Call) -> None:
                if (call.verb, call.kind) == (verb, kind) and not world.operator.failed.is_set():
                    raise KeyError("metadata")

            await asyncio.sleep(60)
            assert not world.operator.failed.is_set()
            world.cluster.before = odd_answer
            async with asyncio.timeout(600):
                await world.operator.failed.wait()

    with caplog.at_level(logging.ERROR):
        in_jumping_time(story())
    (said,) = caplog.records
    assert said.getMessage() == f"a fault of the operator ended its {task}"
    assert said.exc_info is not None


def test_an_end_that_is_asked_for_is_no_fault() -> None:
    async def story() -> None:
        async with a_world() as world:
            operator = world.operators.pop()
            await operator.stop()
            assert not operator.failed.is_set()

    in_jumping_time(story())
