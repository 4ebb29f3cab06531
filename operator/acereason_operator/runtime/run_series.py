"""Series of single runs and stages, for whoever watches one or is paged for one.

They are computed from the cache at the time of the scrape, for runs under way and for those that
ended within the hour (so that an alert can name what it is about). Their number follows what goes
on, not what ever was; nothing has to be kept in step, and nothing is left behind.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import get_args

from acereason_trainer.config.stage_file import StageKind
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from pydantic import ValidationError

from acereason_operator.api.run import Retries
from acereason_operator.api.status import RunStatus, StageStatus
from acereason_operator.cluster.protocol import Object
from acereason_operator.planner.times import parse_time

SHOWN_AFTER_THE_END = timedelta(hours=1)
"""Longer than any alert waits."""

WAITING_FOR_PODS = ("Preparing", "Pending")
UNDER_WAY = (*WAITING_FOR_PODS, "Running", "BackingOff")
ACCURACY = "accuracy/"
"""Before the name of a set, in what an evaluation published."""

STAGE = ("namespace", "run", "stage")
FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "acereason_run_state": (
        "1 for the state of a run.",
        ("namespace", "run", "state"),
    ),
    "acereason_run_stage_state": (
        "1 for the state of a stage.",
        (*STAGE, "kind", "state"),
    ),
    "acereason_run_stage_attempts": (
        "Attempts of a stage so far.",
        STAGE,
    ),
    "acereason_run_stage_charges": (
        "Bad ends of a stage's attempts so far, by who paid: user, infrastructure, health, input.",
        (*STAGE, "budget"),
    ),
    "acereason_run_stage_retries_left": (
        "Further attempts that each budget of a stage allows.",
        (*STAGE, "budget"),
    ),
    "acereason_run_stage_waiting_timestamp_seconds": (
        "Since when an attempt waits for its pods, in Unix time.",
        STAGE,
    ),
    "acereason_run_stage_progress_timestamp_seconds": (
        "Since when a running stage has stood at its step, in Unix time.",
        STAGE,
    ),
    "acereason_run_stage_step": (
        "Completed steps of a stage as the operator last noted them.",
        STAGE,
    ),
    "acereason_run_stage_steps": (
        "Steps of a stage in all.",
        STAGE,
    ),
    "acereason_run_stage_accuracy": (
        "What an evaluation came to, by set: a fraction.",
        (*STAGE, "set"),
    ),
}
"""What is said of each family, and its labels."""

Point = tuple[str, tuple[str, ...], float]
"""Family, values of its labels beside namespace and run, value."""
Shown = tuple[tuple[str, str], tuple[Point, ...]]
"""(namespace, name) of a run, and its series."""


def series_of(run: Object) -> tuple[Point, ...]:
    """The series of a run as the API server has it. A status that cannot be read (a newer operator
    wrote it) has none but the state."""
    raw = run.get("status") or {}
    points: list[Point] = [("acereason_run_state", (str(raw.get("state") or "Pending"),), 1.0)]
    try:
        status = RunStatus.parse(raw)
    except ValidationError:
        return tuple(points)
    spec = run.get("spec") or {}
    stages = {stage.get("name"): stage for stage in spec.get("stages") or []}
    for stage in status.stages:
        points += _of_stage(stage, stages.get(stage.name, {}), spec.get("defaults") or {})
    return tuple(points)


def _of_stage(
    stage: StageStatus, of_spec: Mapping[str, object], defaults: Mapping[str, object]
) -> Iterator[Point]:
    def point(family: str, value: float, *labels: str) -> Point:
        return f"acereason_run_stage_{family}", (stage.name, *labels), value

    kind = next((kind for kind in get_args(StageKind) if kind in of_spec), "")
    yield point("state", 1.0, kind, stage.state)
    for name, value in stage.metrics.items():
        if stage.artifact is not None and name.startswith(ACCURACY):
            yield point("accuracy", value, name.removeprefix(ACCURACY))
    if stage.attempts == 0:
        return
    spent = stage.spent
    yield point("attempts", stage.attempts)
    yield point("charges", spent.user, "user")
    yield point("charges", spent.infrastructure, "infrastructure")
    yield point("charges", spent.health, "health")
    yield point("charges", spent.corrupt_input, "input")
    if stage.state not in UNDER_WAY:
        return
    allowed = _retries(of_spec, defaults)
    yield point("retries_left", max(allowed.user - spent.user, 0), "user")
    left = max(allowed.infrastructure - spent.infrastructure, 0)
    yield point("retries_left", left, "infrastructure")
    yield point("step", stage.step)
    if stage.total_steps is not None:
        yield point("steps", stage.total_steps)
    if stage.attempt is None:
        return
    if stage.state in WAITING_FOR_PODS:
        yield point("waiting_timestamp_seconds", _unix(stage.attempt.claimed_at))
    since = stage.step_seen_at or stage.attempt.started_at
    if stage.state == "Running" and since is not None:
        yield point("progress_timestamp_seconds", _unix(since))


def _retries(of_spec: Mapping[str, object], defaults: Mapping[str, object]) -> Retries:
    """As `effective.retries`, without parsing the whole spec for two numbers."""
    try:
        return Retries.model_validate(of_spec.get("retries") or defaults.get("retries") or {})
    except ValidationError:
        return Retries()


def _unix(text: str) -> float:
    return parse_time(text).timestamp()


class RunSeries(Collector):
    """The series of all runs that have some."""

    def __init__(self, runs: Callable[[], Iterable[Shown]]) -> None:
        """runs: called in the thread of the scrape."""
        self._runs = runs

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Every family, also one without a series."""
        families = {
            name: GaugeMetricFamily(name, said, labels=labels)
            for name, (said, labels) in FAMILIES.items()
        }
        for (namespace, run), points in self._runs():
            for family, labels, value in points:
                families[family].add_metric((namespace, run, *labels), value)
        yield from families.values()
