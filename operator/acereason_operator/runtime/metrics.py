"""Every metric of the operator, in one registry of its own.

The queue's are named as the ecosystem names them, so that existing boards fit. No label here holds
the name of a run, a stage, a pod or a namespace; series that do (`run_series.py`) are there while
their run is under way. So the number of series does not grow with use.
What a running stage measures step by step is served by its own rank 0 and scraped there.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import get_args

from acereason_trainer.config.stage_file import StageKind
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from acereason_operator.cluster.protocol import JOB, POD, RUN
from acereason_operator.runtime.run_series import FAMILIES, RunSeries, Shown

STATES = ("Pending", "Running", "BackingOff", "Complete", "Failed", "Suspended", "Stalled")
"""Values of a run's `status.state`, and of the label `state`."""

CAUSES = {
    "User": "user",
    "Infrastructure": "infrastructure",
    "BadConfiguration": "configuration",
    "CorruptInput": "input",
    "HealthStop": "health",
    "Stopped": "infrastructure",
    None: "nobody",
}
"""Values of the label `cause`, by the verdict on an attempt; a deadline ends one without."""

ENDS = ("Complete", "Reused", "Failed")
"""States in which a stage ends."""

SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
LONG = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 3 * 86400, 7 * 86400)
SIZES = (2**20, 2**26, 2**30, 2**32, 2**34, 2**36, 2**38, 2**40)


@dataclass
class Metrics:
    """The registry, and what is counted in it."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    _labels: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        ProcessCollector(registry=self.registry)
        self.depth = gauge("workqueue_depth", "Runs that wait for a worker.")
        self.working = gauge("workqueue_working", "Runs that workers have now.")
        self.retrying = gauge("workqueue_retrying", "Runs whose last reconcile failed.")
        self.queue_wait = histogram(
            "workqueue_queue_duration_seconds", "Wait of a run for a worker.", SHORT
        )
        self.work = histogram(
            "workqueue_work_duration_seconds", "One reconcile, its requests included.", SHORT
        )
        self.reconciles = counter(
            "reconcile_total",
            "Reconciles by result: done, conflict (somebody wrote first, looked at again),"
            " not_leading, error.",
            "result",
        )
        self.requests = counter(
            "api_requests_total",
            "Requests to the API server, watches aside; code `none`: no answer came.",
            "verb",
            "code",
        )
        self.throttle_wait = histogram(
            "api_write_wait_seconds", "Wait of a write for the client's own rate limit.", SHORT
        )
        self.leader = gauge("leader", "1 where this replica leads.")
        self.transitions = counter("leader_transitions_total", "Times this replica began to lead.")
        self.relists = counter(
            "relists_total", "Lists that correct the watches.", "resource", "result"
        )
        self.corrected = counter(
            "relist_corrections_total",
            "Runs that a relist found something new for. Many: a watch is blind.",
            "resource",
        )
        self.cached = gauge("cache_objects", "Objects in the cache.", "resource")
        self.cached_bytes = gauge("cache_bytes", "Their size, packed.", "resource")
        self.watch_age = gauge(
            "watch_age_seconds", "Time since a watch delivered its last event.", "resource"
        )
        self.undelivered = gauge(
            "watch_undelivered_seconds",
            "Age of the oldest change that a relist found and no watch has told of.",
        )
        self.progress_reads = counter(
            "progress_reads_total",
            "Reads of a running stage's progress, by result: read, unreachable, unreadable.",
            "result",
        )
        self.stage_ends = counter(
            "stage_ends_total", "Stages that ended, by state.", "kind", "state"
        )
        self.stage_seconds = histogram(
            "stage_duration_seconds",
            "From a stage's first attempt to its completion.",
            LONG,
            "kind",
        )
        self.attempts = counter(
            "attempt_failures_total",
            "Attempts that ended badly, by who pays: user, infrastructure, configuration, input,"
            " health, nobody.",
            "kind",
            "cause",
        )
        self.handoff_bytes = histogram(
            "handoff_bytes", "Size of what a stage published.", SIZES, "kind"
        )
        self.handoff_seconds = histogram(
            "handoff_publish_seconds", "Time that publishing an artifact took.", LONG, "kind"
        )
        self.corrupt = counter(
            "corrupt_artifacts_total",
            "Attempts that found an input which no longer matched its digest.",
            "kind",
        )

        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """What is counted seldom is there from the start: a counter that begins at 1 has not grown,
        as far as a query can tell."""
        for kind in get_args(StageKind):
            self.corrupt.labels(kind)
            for histogram in (self.stage_seconds, self.handoff_bytes, self.handoff_seconds):
                histogram.labels(kind)
            for state in ENDS:
                self.stage_ends.labels(kind, state)
            for cause in sorted(set(CAUSES.values())):
                self.attempts.labels(kind, cause)
        for resource in (RUN, JOB, POD):
            self.corrected.labels(resource.plural)
            for result in ("done", "error"):
                self.relists.labels(resource.plural, result)
        for result in ("done", "conflict", "not_leading", "error"):
            self.reconciles.labels(result)
        for result in ("read", "unreachable", "unreadable"):
            self.progress_reads.labels(result)

    def show_runs(
        self, states: Callable[[], Iterable[str]], series: Callable[[], Iterable[Shown]]
    ) -> None:
        """Serve the number of runs by state, and the series of single ones. Both are asked for at
        each scrape, in its thread."""
        self._labels["acereason_runs"] = ("state",)
        self._labels |= {name: labels for name, (_, labels) in FAMILIES.items()}
        self.registry.register(_Runs(states))
        self.registry.register(RunSeries(series))

    def labels(self, family: str) -> tuple[str, ...]:
        """Names of a family's labels."""
        return self._labels.get(family, ())

    def _counter(self, name: str, help_: str, *labels: str) -> Counter:
        self._labels[f"acereason_{name.removesuffix('_total')}"] = labels
        return Counter(f"acereason_{name}", help_, labels, registry=self.registry)

    def _gauge(self, name: str, help_: str, *labels: str) -> Gauge:
        self._labels[f"acereason_{name}"] = labels
        return Gauge(f"acereason_{name}", help_, labels, registry=self.registry)

    def _histogram(
        self, name: str, help_: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        self._labels[f"acereason_{name}"] = labels
        return Histogram(
            f"acereason_{name}", help_, labels, registry=self.registry, buckets=buckets
        )


class _Runs(Collector):
    """Runs by state, from the cache at the time of the scrape: nothing to keep in step."""

    def __init__(self, states: Callable[[], Iterable[str]]) -> None:
        self._states = states

    def collect(self) -> Iterator[GaugeMetricFamily]:
        counts = dict.fromkeys(STATES, 0)
        for state in self._states():
            known = state if state in counts else "Pending"
            counts[known] += 1
        family = GaugeMetricFamily("acereason_runs", "Runs by state.", labels=["state"])
        for state, count in counts.items():
            family.add_metric([state], count)
        yield family
