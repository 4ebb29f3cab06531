"""Runs whose pods have to run at the same time, on a cluster that has not room for all."""

from acereason_operator.cluster import labels
from acereason_operator.cluster.protocol import POD, Object
from acereason_operator.planner.status import is_true
from fake_controllers import ENDED, End
from jumping_time import in_jumping_time
from operators import FOUR_STAGES, World, a_world

THREE_NODES = {**FOUR_STAGES[0], "nodes": 3}


def gang(world: World, run: str) -> list[Object]:
    """The pods of a run that train, or wait for that."""
    return [
        pod
        for pod in world.cluster.all(POD)
        if pod["metadata"]["labels"][labels.RUN] == run
        and trains(pod)
        and pod["status"]["phase"] not in ENDED
    ]


def trains(pod: Object) -> bool:
    return pod["metadata"]["labels"][labels.PHASE] == "train"


def placed(pods: list[Object]) -> int:
    return sum(bool(pod["spec"].get("nodeName")) for pod in pods)


def test_two_runs_that_hold_half_the_cluster_each_both_come_through() -> None:
    """Four nodes, three for each run; the scheduler takes their pods in turns."""

    async def story() -> None:
        async with a_world() as world:

            def in_turns(pod: Object) -> bool:
                run = pod["metadata"]["labels"][labels.RUN]
                mine, theirs = gang(world, run), gang(world, "b" if run == "a" else "a")
                nobody_waits = placed(theirs) == len(theirs)
                return not trains(pod) or nobody_waits or placed(mine) <= placed(theirs)

            def script(pod: Object) -> End | None:
                """A rank works once it has met its peers."""
                if not trains(pod):
                    return world.store.work(pod)
                job = pod["metadata"]["labels"][labels.JOB_NAME]
                peers = [
                    p
                    for p in world.cluster.all(POD)
                    if p["metadata"]["labels"][labels.JOB_NAME] == job
                    and p["status"]["phase"] in ("Running", "Succeeded")
                ]
                return world.store.work(pod) if len(peers) == 3 else None

            world.controllers.takes_a_node = trains
            world.controllers.schedulable = in_turns
            world.controllers.script = script
            for run in "ab":
                world.apply(run, seed=ord(run), stages=[THREE_NODES])
            await world.until(lambda: placed(gang(world, "a")) == placed(gang(world, "b")) == 2)
            await world.until(
                lambda: all(is_true(world.status(run), "Complete") for run in "ab"),
                within=4 * 3600,
            )
            for run in "ab":
                spent = world.stage("prompts", run).spent
                assert (spent.user, spent.infrastructure) == (0, 0), "nobody pays"

    in_jumping_time(story())
