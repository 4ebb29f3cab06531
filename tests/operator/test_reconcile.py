"""What the operator does to a cluster, one run at a time, in time that jumps."""

from collections import Counter

from acereason_operator.planner.status import is_true
from jumping_time import in_jumping_time
from operators import a_world


def test_a_run_without_incident_costs_eight_jobs_and_at_most_26_writes() -> None:
    async def story() -> Counter[str]:
        async with a_world() as world:
            world.apply()
            await world.until(lambda: is_true(world.status(), "Complete"))
            return world.cluster.written()

    written = in_jumping_time(story())
    for quiet in ("create Event", "create Lease", "replace Lease"):
        written.pop(quiet, None)
    print(written)
    assert written["create Job"] == 8
    assert written["write_status AceReasonRun"] == 13
    assert written.total() <= 26
