"""Writes docs/metrics.md from the registry: `python -m acereason_operator.runtime.metrics_page`."""

from pathlib import Path

from acereason_operator.runtime.metrics import Metrics

PAGE = Path("docs/metrics.md")
PROCESS = "process_"
"""Families that depend on the machine."""

HEAD = """# Metrics of the operator

Served on `/metrics` of the operator's probe port. This page is generated from the registry (`make
generate`). Metrics whose labels name a run have series for runs under way and for those that ended
within the hour, no other metric names one: the number of series does not grow with use. Every
replica serves them as it sees them; take the `max` over replicas. Their label `namespace` is the
run's, so scrape with `honor_labels: true`, as the chart's PodMonitor does.

Series of the process itself (`process_resident_memory_bytes` and the like) are there too, on Linux.
What a stage measures step by step is served by its own rank 0 and listed in
[stage-metrics.md](stage-metrics.md); the verifier's metrics are in
[verifier.md](verifier.md#metrics). Dashboards and alerts are in the chart;
[runbooks.md](runbooks.md) says what an alert means.

| metric | type | labels | what it says |
|---|---|---|---|
"""


def page() -> str:
    """The page."""
    metrics = Metrics()
    metrics.show_runs(lambda: (), lambda: ())
    rows = [
        (f"{family.name}_total" if family.type == "counter" else family.name,
         family.type, family.documentation, metrics.labels(family.name))
        for family in metrics.registry.collect()
        if not family.name.startswith(PROCESS)
    ]  # fmt: skip
    return HEAD + "".join(
        f"| `{name}` | {type_} | {', '.join(f'`{label}`' for label in labels)} | {said} |\n"
        for name, type_, said, labels in sorted(rows)
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
