"""What is measured, and that its size does not grow with use."""

from pathlib import Path

from acereason_operator.cluster import labels
from acereason_operator.cluster.protocol import Object
from acereason_operator.planner.status import is_true
from acereason_operator.planner.times import parse_time
from acereason_operator.runtime.metrics import Metrics
from acereason_operator.runtime.metrics_page import page
from acereason_operator.runtime.run_series import series_of
from fake_controllers import End
from jumping_time import in_jumping_time
from operators import World, a_world

ROOT = Path(__file__).parents[2]


def series(world: World) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    """Name and labels of every series."""
    return {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in world.operator.metrics.registry.collect()
        for sample in family.samples
    }


MOST_SERIES = 16
"""Of one stage that is under way."""


def test_a_run_has_a_few_series_for_each_stage_whatever_befalls_it() -> None:
    """Its attempts, pods, nodes and reasons are no labels."""

    async def story() -> None:
        async with a_world() as world:
            before = len(series(world))

            def script(pod: Object) -> End | None:
                its = pod["metadata"]["labels"]
                crashes = (its[labels.STAGE], its[labels.PHASE]) == ("sft", "train")
                return End(1, "crashed") if crashes else world.store.work(pod)

            world.controllers.script = script
            world.apply(defaults={"retries": {"user": 5}})
            await world.until(lambda: world.stage("sft").attempts >= 4, within=24 * 3600)
            assert len(series(world)) - before <= MOST_SERIES * len(world.status().stages)

    in_jumping_time(story())


def test_the_number_of_series_does_not_grow_with_runs_that_ended() -> None:
    async def story() -> None:
        async with a_world() as world:
            world.apply("first")
            await world.until(lambda: is_true(world.status("first"), "Complete"))
            await world.pass_(2 * 3600)
            before = series(world)
            for i in range(2):
                world.apply(f"later-{i}", seed=i + 1)
            await world.until(lambda: is_true(world.status("later-1"), "Complete"))
            assert series(world) > before, "whoever ended just now is shown"
            await world.pass_(2 * 3600)
            assert series(world) == before
            values = {value for _, labels in before for _, value in labels}
            names = ("first", "later", "prompts", "default", "node-")
            assert not [v for v in values if any(name in v for name in names)]

    in_jumping_time(story())


def test_a_run_under_way_shows_what_a_person_is_paged_for() -> None:
    async def story() -> None:
        async with a_world() as world:
            failures = [End(1), End(75)]

            def script(pod: object) -> End | None:
                name = pod["metadata"]["name"]
                if "math" not in name or "train" not in name:
                    return world.store.work(pod)
                return failures.pop() if failures else None

            world.controllers.script = script
            world.controllers.pod_ip = ""
            world.apply(defaults={"retries": {"user": 1, "infrastructure": 5}})
            await world.until(
                lambda: (s := world.stage("math")).attempts == 3 and s.state == "Running"
            )
            at = {"namespace": "default", "run": "r", "stage": "math"}

            def shown(name: str, **labels: str) -> float | None:
                registry = world.operator.metrics.registry
                return registry.get_sample_value(f"acereason_run_{name}", labels)

            assert shown("state", namespace="default", run="r", state="Running") == 1
            assert shown("stage_state", **at, kind="mathRL", state="Running") == 1
            assert shown("stage_attempts", **at) == 3
            budgets = ("user", "infrastructure", "health", "input")
            charges = [shown("stage_charges", **at, budget=b) for b in budgets]
            assert charges == [1, 1, 0, 0]
            left = [shown("stage_retries_left", **at, budget=b) for b in budgets[:2]]
            assert left == [0, 4]
            claim = world.stage("math").attempt
            assert claim is not None
            assert claim.started_at is not None
            since = parse_time(claim.started_at).timestamp()
            assert shown("stage_progress_timestamp_seconds", **at) == since
            assert shown("stage_waiting_timestamp_seconds", **at) is None

    in_jumping_time(story())


def test_a_stage_without_room_shows_since_when_it_waits() -> None:
    async def story() -> None:
        async with a_world() as world:
            world.controllers.schedulable = lambda pod: False
            world.apply()
            await world.until(lambda: world.stage("prompts").attempt is not None)
            claim = world.stage("prompts").attempt
            assert claim is not None
            waits = world.operator.metrics.registry.get_sample_value(
                "acereason_run_stage_waiting_timestamp_seconds",
                {"namespace": "default", "run": "r", "stage": "prompts"},
            )
            assert waits == parse_time(claim.claimed_at).timestamp()

    in_jumping_time(story())


RUN_WITH_A_RESULT = {
    "spec": {"stages": [{"name": "eval", "evaluate": {}}]},
    "status": {
        "state": "Complete",
        "stages": [
            {
                "name": "eval",
                "state": "Complete",
                "metrics": {"accuracy/aime": 0.5, "problems/aime": 30.0},
                "artifact": {
                    "uri": "artifacts/a",
                    "digest": f"sha256:{'0' * 64}",
                    "bytes": 1,
                    "kind": "evaluation",
                },
            }
        ],
    },
}


def test_an_evaluation_shows_its_accuracy_by_set() -> None:
    at = ("acereason_run_stage_accuracy", ("eval", "aime"), 0.5)
    assert [p for p in series_of(RUN_WITH_A_RESULT) if p[0] == at[0]] == [at]


def test_a_status_of_a_newer_operator_shows_its_state_alone() -> None:
    newer = {"status": {"state": "Running", "stages": [{"name": "a", "mood": "good"}]}}
    assert series_of(newer) == (("acereason_run_state", ("Running",), 1.0),)


def test_what_runs_came_to_is_counted_once() -> None:
    async def story() -> None:
        async with a_world(replicas=2) as world:
            oom = [True]

            def script(pod: object) -> End | None:
                work = world.store.work(pod)
                if "math" in pod["metadata"]["name"] and "train" in pod["metadata"]["name"] and oom:
                    oom.clear()
                    return End(1)
                return work

            world.controllers.script = script
            world.apply()
            await world.until(lambda: is_true(world.status(), "Complete"))

            def total(name: str, **labels: str) -> float:
                values = [
                    o.metrics.registry.get_sample_value(f"acereason_{name}", labels)
                    for o in world.operators
                ]
                return sum(value or 0.0 for value in values)

            assert total("stage_ends_total", kind="sft", state="Complete") == 1
            assert total("attempt_failures_total", kind="mathRL", cause="user") == 1
            assert total("stage_duration_seconds_count", kind="mathRL") == 1
            assert total("handoff_bytes_sum", kind="evaluate") == 7
            assert total("runs", state="Complete") == 2, "each replica shows what it sees"

    in_jumping_time(story())


def test_what_is_rare_is_counted_from_zero_so_that_the_first_time_shows() -> None:
    """A series that begins at 1 has not grown, as far as `increase` can tell."""
    rare = {
        "corrupt_artifacts_total": {"kind": "mathRL"},
        "attempt_failures_total": {"kind": "sft", "cause": "infrastructure"},
        "stage_ends_total": {"kind": "evaluate", "state": "Failed"},
        "stage_duration_seconds_count": {"kind": "curate"},
        "relists_total": {"resource": "jobs", "result": "error"},
        "progress_reads_total": {"result": "unreachable"},
        "reconcile_total": {"result": "error"},
    }
    registry = Metrics().registry
    for name, its in rare.items():
        assert registry.get_sample_value(f"acereason_{name}", its) == 0, name


def test_the_page_of_metrics_is_fresh() -> None:
    written = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    assert written == page(), "run: make generate"
