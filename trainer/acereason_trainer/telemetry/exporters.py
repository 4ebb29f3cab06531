"""Where a step's metrics go beside metrics.jsonl: an HTTP port, TensorBoard event files."""

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Gauge, make_wsgi_app, start_http_server

from acereason_trainer.config.common import Telemetry
from acereason_trainer.telemetry.earlier_ends import earlier_ends
from acereason_trainer.telemetry.metrics import METRICS

_log = logging.getLogger(__name__)

WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Exporter(Protocol):
    """A place that a completed step is shown in."""

    def export(self, step: int, total: int | None, row: Mapping[str, float | None]) -> None:
        """Show a row, and how many steps of how many are complete."""
        ...

    def close(self) -> None:
        """Flush and release."""
        ...


def exporters(
    settings: Telemetry, work_dir: Path, key: str, step: int
) -> tuple[Exporter, ...]:  # fmt: skip
    """The exporters that the settings ask for, going on after `step`.

    A port that cannot be opened is a warning in the log: a stage does not end for its gauges.
    """
    wanted: list[Exporter] = []
    if settings.metrics_port:
        try:
            progress, ends = work_dir / "progress.json", earlier_ends(work_dir)
            wanted.append(HTTPPort(settings.metrics_port, key, progress, ends))
        except OSError as e:
            _log.warning(
                "telemetry.metricsPort %d cannot be opened (%s); the stage runs without gauges; "
                "choose a free port, or 0 for none",
                settings.metrics_port,
                e.strerror,
            )
    if settings.tensorboard:
        wanted.append(TensorBoardEvents(work_dir / "tensorboard", step))
    return tuple(wanted)


class HTTPPort:
    """What a running stage serves: `/metrics`, with one gauge per metric, made when it is first
    recorded, and `/progress`, its progress.json as it is now."""

    def __init__(self, port: int, key: str, progress: Path, ends: Mapping[str, int]) -> None:
        """Serve from here on. Raises OSError where the port cannot be opened.

        ends: how many earlier attempts of the stage ended for which reason.
        """
        self._registry = CollectorRegistry()
        self._gauges: dict[str, Gauge] = {}
        self._step = Gauge("acereason_stage_step", "Completed steps.", registry=self._registry)
        self._total = Gauge("acereason_stage_steps", "Steps in all.", registry=self._registry)
        Gauge(
            "acereason_stage_info", "Stage key of this attempt.", ["key"], registry=self._registry
        ).labels(key).set(1)
        earlier = Gauge(
            "acereason_stage_earlier_ends",
            "Earlier attempts of this stage by the reason for which they ended.",
            ["reason"],
            registry=self._registry,
        )
        for reason, attempts in ends.items():
            earlier.labels(reason).set(attempts)
        self._server, self._thread = start_http_server(port, registry=self._registry)
        self._server.set_app(_with_progress(make_wsgi_app(self._registry), progress))

    def export(self, step: int, total: int | None, row: Mapping[str, float | None]) -> None:
        """Set each metric's gauge; NaN where a metric had no number."""
        self._step.set(step)
        if total is not None:
            self._total.set(total)
        for name, value in row.items():
            if name in METRICS:
                self._gauge(name).set(float("nan") if value is None else value)

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _gauge(self, name: str) -> Gauge:
        if name not in self._gauges:
            self._gauges[name] = Gauge(
                f"acereason_stage_{name}", METRICS[name].help, registry=self._registry
            )
        return self._gauges[name]


def _with_progress(metrics: WSGIApp, file: Path) -> WSGIApp:
    """An app that answers `/progress` with a file (404 where there is none), all else as before."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/progress":
            return metrics(environ, start_response)
        try:
            body, status = file.read_bytes(), "200 OK"
        except FileNotFoundError:
            body, status = b"{}", "404 Not Found"
        start_response(status, [("Content-Type", "application/json")])
        return [body]

    return app


class TensorBoardEvents:
    """Event files in the attempt's directory."""

    def __init__(self, directory: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(directory), purge_step=step + 1)

    def export(self, step: int, total: int | None, row: Mapping[str, float | None]) -> None:
        """Write each metric as a scalar of the row's own step."""
        at = int(row["step"] or step)
        for name, value in row.items():
            if name in METRICS and value is not None:
                self._writer.add_scalar(name, value, at)

    def close(self) -> None:
        """Write out what is buffered."""
        self._writer.close()
