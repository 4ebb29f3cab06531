"""The figures of the service, for Prometheus: what is told, and what is looked up when asked."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Generic, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from acereason_trainer.rewards.protocol import Verdict

_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_PREFIX = "acereason_verifier_"
REFUSALS = ("400", "404", "413", "429", "503")
"""Counted from the start: a counter that begins at 1 has not grown, as far as a query can tell."""
WALLS = ("landlock", "seccomp")
_T = TypeVar("_T")


class Meters:
    """All series of one process, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._verdicts = Counter(
            _PREFIX + "verdicts",
            "Jobs graded, by what became of them.",
            ["kind", "verdict"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            _PREFIX + "seconds",
            "Seconds from the hand-over of a job to its verdict.",
            ["kind"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._queue_seconds = Histogram(
            _PREFIX + "queue_seconds",
            "Seconds that a job waited for its turn.",
            ["kind"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._refused = Counter(
            _PREFIX + "rejected",
            "Requests that were refused, by the status of the answer: 400 malformed, 404 tests to "
            "be uploaded, 413 too large, 429 full, 503 stopping.",
            ["status"],
            registry=self._registry,
        )
        for status in REFUSALS:
            self._refused.labels(status)
        self._uploads = Counter(
            _PREFIX + "test_uploads", "Test sets that were uploaded.", registry=self._registry
        )

        self._walls = Gauge(
            _PREFIX + "walls_missing",
            "1 for a wall around programs that this machine's kernel lacks.",
            ["wall"],
            registry=self._registry,
        )
        for wall in WALLS:
            self._walls.labels(wall).set(0)

    def page(self) -> bytes:
        """What /metrics answers."""
        return generate_latest(self._registry)

    def missing_walls(self, walls: Sequence[str]) -> None:
        """Programs run without these."""
        for wall in walls:
            self._walls.labels(wall).set(1)

    def uploaded(self) -> None:
        """A test set came."""
        self._uploads.inc()

    def refused(self, status: int) -> None:
        """A request was refused."""
        self._refused.labels(str(status)).inc()

    def of_kind(self, kind: str) -> "KindMeter":
        """What the desk of one kind tells."""
        for verdict in Verdict:
            self._verdicts.labels(kind, verdict.value)
        return KindMeter(kind, self._verdicts, self._seconds, self._queue_seconds)

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A gauge that is looked up when it is asked for."""
        Gauge(_PREFIX + name, text, registry=self._registry).set_function(value)

    def watch_kinds(
        self, name: str, text: str, of_kind: Mapping[str, _T], value: Callable[[_T], float]
    ) -> None:
        """The same for each kind of job."""
        gauge = Gauge(_PREFIX + name, text, ["kind"], registry=self._registry)
        for kind, thing in of_kind.items():
            gauge.labels(kind).set_function(partial(value, thing))

    def count_kinds(
        self, name: str, text: str, of_kind: Mapping[str, _T], value: Callable[[_T], float]
    ) -> None:
        """The same for what only grows."""
        self._registry.register(_Counted(_PREFIX + name, text, of_kind, value))


class _Counted(Collector, Generic[_T]):
    def __init__(
        self, name: str, text: str, of_kind: Mapping[str, _T], value: Callable[[_T], float]
    ) -> None:
        self._name = name
        self._text = text
        self._of_kind = of_kind
        self._value = value

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self._name, self._text, labels=["kind"])
        for kind, thing in self._of_kind.items():
            family.add_metric([kind], self._value(thing))
        yield family


class KindMeter:
    """The figures of one kind of job."""

    def __init__(
        self, kind: str, verdicts: Counter, seconds: Histogram, queue_seconds: Histogram
    ) -> None:
        self._kind = kind
        self._verdicts = verdicts
        self._seconds = seconds.labels(kind)
        self._queue_seconds = queue_seconds.labels(kind)

    def waited(self, seconds: float) -> None:
        """A job begins after so long."""
        self._queue_seconds.observe(seconds)

    def graded(self, verdict: Verdict, seconds: float) -> None:
        """A job is done; it took its worker so long."""
        self._verdicts.labels(self._kind, verdict.value).inc()
        self._seconds.observe(seconds)
