"""Writes docs/metrics.md from the registry: `python -m acereason_operator.runtime.metrics_page`."""

from pathlib import Path

from acereason_operator.runtime.metrics import Metrics

PAGE = Path("docs/metrics.md")

HEAD = """# Metrics of the operator

Served on `/metrics` of the operator's probe port. This page is generated from the registry (`make
generate`). No label holds the name of a run, a stage, a pod or a namespace: the number of series
does not grow with use. What a stage measures step by step is served by its own rank 0
(`acereason_stage_*`, on the stage's metrics port) and scraped there.

| metric | type | labels | what it says |
|---|---|---|---|
"""


def page() -> str:
    """The page."""
    metrics = Metrics()
    metrics.show_runs(lambda: ())
    rows = [
        (f"{family.name}_total" if family.type == "counter" else family.name,
         family.type, family.documentation, metrics.labels(family.name))
        for family in metrics.registry.collect()
    ]  # fmt: skip
    return HEAD + "".join(
        f"| `{name}` | {type_} | {', '.join(f'`{label}`' for label in labels)} | {said} |\n"
        for name, type_, said, labels in sorted(rows)
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
