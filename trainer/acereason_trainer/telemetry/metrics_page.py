"""Writes docs/stage-metrics.md from the table of metrics:
`python -m acereason_trainer.telemetry.metrics_page`."""

from pathlib import Path

from acereason_trainer.telemetry.metrics import METRICS

PAGE = Path("docs/stage-metrics.md")

HEAD = """# Metrics of a stage

What a stage measures at each step. Each is a column of `metrics.jsonl` in the attempt's directory
and in the artifact, a TensorBoard scalar where the stage asks for them, and a gauge
`acereason_stage_<name>` on the metrics port of rank 0 (`telemetry.metricsPort`; in a cluster
`settings.metricsPort` of the chart), which holds the last step's value and is there from the first
step that has it. The chart's PodMonitor adds the labels `run`, `stage` and `attempt` to the pod's.

Beside them rank 0 serves `acereason_stage_step` (completed steps), `acereason_stage_steps` (in
all), `acereason_stage_info{key}` and `acereason_stage_earlier_ends{reason}`: how many attempts of
the stage before this one ended for which reason of [health.md](health.md), where nobody was left to
serve a metric of it. This page is generated (`make generate`).

| name | unit | what it says |
|---|---|---|
"""


def page() -> str:
    """The page."""
    return HEAD + "".join(f"| `{m.name}` | {m.unit} | {m.help} |\n" for m in METRICS.values())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
