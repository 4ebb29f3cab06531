"""What is measured, and that its size does not grow with use."""

from pathlib import Path

from acereason_operator.planner.status import is_true
from acereason_operator.runtime.metrics_page import page
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


def test_the_number_of_series_does_not_grow_with_runs_and_no_label_names_one() -> None:
    async def story() -> None:
        async with a_world() as world:
            world.apply("first")
            await world.until(lambda: is_true(world.status("first"), "Complete"))
            before = series(world)
            for i in range(2):
                world.apply(f"later-{i}", seed=i + 1)
            await world.until(lambda: is_true(world.status("later-1"), "Complete"))
            assert series(world) == before
            values = {value for _, labels in before for _, value in labels}
            names = ("first", "later", "prompts", "default", "node-")
            assert not [v for v in values if any(name in v for name in names)]

    in_jumping_time(story())


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


def test_the_page_of_metrics_is_fresh() -> None:
    written = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    assert written == page(), "run: make generate"
