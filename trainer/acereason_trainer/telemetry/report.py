"""`python -m acereason_trainer.telemetry.report`: one run as one self-contained HTML page.

The page needs no network and no script; charts are inline SVG and follow the reader's light or dark
setting. `--format json` gives the same facts to a program.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2

from acereason_trainer.artifacts.manifest import Manifest
from acereason_trainer.output_file import OutputRefused, output_file
from acereason_trainer.telemetry.metrics import METRICS, PHASES
from acereason_trainer.telemetry.run_record import (
    NoSuchRun,
    RunRecord,
    Score,
    StageRecord,
    read_run,
)

RL_KINDS = ("mathRL", "codeRL")
RL_PANELS = {
    "reward": "Reward",
    "validation_accuracy": "Accuracy on validation problems",
    "entropy": "Entropy at the sampling temperature",
    "response_tokens": "Response length",
    "truncated_share": "Truncated responses",
    "no_signal_share": "Groups without signal",
    "mismatch_kl": "Trainer against sampler",
    "grad_norm": "Gradient norm",
    "generated_tokens_per_second": "Speed of generation",
    "tail_seconds": "Tail of generation",
    "idle_share": "Idle share of the devices",
    "mfu": "MFU",
}
SFT_PANELS = {
    "loss": "Loss of SFT",
    "tokens_per_second": "Speed of SFT",
    "idle_share": "Idle share of the devices in SFT",
    "mfu": "MFU of SFT",
}
"""Titles of the charts, by metric."""


@dataclass(frozen=True)
class Chart:
    """A drawn curve and what it shows."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Headline:
    """Where one evaluation set stands."""

    set: str
    score: Score
    since: str
    """Model of the first evaluation of the set."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (0, or 2 for a wrong run or output)."""
    options = _parser().parse_args(arguments)
    try:
        record = read_run(options.store, options.run)
    except NoSuchRun as e:
        print(f"report: {e}", file=sys.stderr)
        return 2
    text = as_json(record) if options.format == "json" else as_html(record)
    if options.out is None:
        sys.stdout.write(text)
        return 0
    try:
        with output_file(options.out) as out:
            out.write_text(text, encoding="utf-8")
    except (OutputRefused, OSError) as e:
        why = e if isinstance(e, OutputRefused) else f"--out {options.out}: {e.strerror}"
        print(f"report: {why}", file=sys.stderr)
        return 2
    print(options.out)
    return 0


def as_json(record: RunRecord) -> str:
    """The facts of the report, without the curves' rows."""

    def plain(value: Any) -> Any:
        if isinstance(value, Manifest):
            return value.dump()
        return value.dump() if hasattr(value, "dump") else vars(value)

    return json.dumps(vars(record), default=plain, indent=1, ensure_ascii=False) + "\n"


def as_html(record: RunRecord) -> str:
    """The page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": lambda share: f"{100 * share:.1f} %",
        "points": lambda share: f"{100 * share:+.1f}",
        "duration": duration,
        "short": lambda digest: digest.removeprefix("sha256:")[:12],
    }
    rl = [s for s in record.stages if s.kind in RL_KINDS]
    sft = [s for s in record.stages if s.kind == "sft"]
    return environment.get_template("report.html.j2").render(
        run=record,
        accuracy=_accuracy(record),
        curves=[*_panels(sft, SFT_PANELS), *_panels(rl, RL_PANELS)],
        phases={
            "SFT": _phases(sft, "Seconds per phase of SFT"),
            "RL": _phases(rl, "Seconds per phase"),
        },
        stage_seconds={s.name: _stage_seconds(s) for s in record.stages},
        headlines=_headlines(record),
    )


def duration(seconds: float | None) -> str:
    """`1 h 02 min`, `3 min 05 s`, `12.3 s`; empty for None."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _headlines(record: RunRecord) -> list[Headline]:
    """The newest score of each set."""
    measured = {name: [e for e in record.evaluations if name in e.scores] for name in record.sets}
    return [Headline(n, es[-1].scores[n], es[0].model) for n, es in measured.items()]


def _accuracy(record: RunRecord) -> str | None:
    from acereason_trainer.telemetry.charts import Points, accuracy_chart

    if not record.evaluations:
        return None
    return accuracy_chart(
        [e.model for e in record.evaluations],
        [
            Points(
                name,
                [e.scores[name].accuracy if name in e.scores else None for e in record.evaluations],
                [
                    e.scores[name].standard_error if name in e.scores else None
                    for e in record.evaluations
                ],
            )
            for name in record.sets
        ],
    )


def _panels(stages: Sequence[StageRecord], titles: Mapping[str, str]) -> list[Chart]:
    """A chart for each metric that any of the stages recorded."""
    from acereason_trainer.telemetry.charts import Curve, curve_chart

    stretches, steps = _laid_out(stages)
    charts = []
    for name, title in titles.items():
        values = {s.name: [row.get(name) for row in s.curves] for s in stages}
        if all(v is None for column in values.values() for v in column):
            continue
        curves = [Curve(steps[s.name], values[s.name]) for s in stages if s.curves]
        metric = METRICS[name]
        charts.append(Chart(curve_chart(title, metric.unit, curves, stretches), metric.help))
    return charts


def _phases(stages: Sequence[StageRecord], title: str) -> str | None:
    """Seconds of each phase per step, stacked."""
    from acereason_trainer.telemetry.charts import stacked_chart

    stretches, steps = _laid_out(stages)
    every = [at for s in stages for at in zip(steps[s.name], s.curves, strict=True)]
    taken = {step: row for step, row in every if "step_seconds" in row}  # not what ends a stage
    rows = taken.values()
    layers = {
        phase: [row.get(f"{phase}_seconds") or 0.0 for row in rows]
        for phase in PHASES
        if any(row.get(f"{phase}_seconds") for row in rows)
    }
    if not layers:
        return None
    return stacked_chart(title, "s", list(taken), layers, stretches)


def _laid_out(stages: Sequence[StageRecord]) -> tuple[list[Any], dict[str, list[int]]]:
    """The stages' steps one after the other: a stretch for each, and their rows' steps."""
    from acereason_trainer.telemetry.charts import Stretch

    offset, stretches, steps = 0, [], {}
    for stage in stages:
        steps[stage.name] = [offset + int(row["step"] or 0) for row in stage.curves]
        if stage.curves:
            stretches.append(Stretch(stage.name, offset + 1, steps[stage.name][-1]))
            offset = steps[stage.name][-1]
    return stretches, steps


def _stage_seconds(stage: StageRecord) -> float | None:
    """Wall-clock seconds from the first attempt's start to the end; None for what was reused."""
    started, finished = stage.status.get("startedAt"), stage.status.get("finishedAt")
    if not started or not finished or stage.state == "Reused":
        return None
    return (_time(finished) - _time(started)).total_seconds()


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="acereason report",
        description="A run as one self-contained HTML page: accuracy after each stage, curves, "
        "what curation dropped, lineage, versions, sample answers. Works while the run is going.",
        epilog="example: acereason report quickstart --store build/store --out report.html",
    )
    parser.add_argument("--store", type=Path, required=True, help="root of the store")
    parser.add_argument("--run", required=True, help="name of the run")
    parser.add_argument("--out", type=Path, help="file to write (default: standard output)")
    parser.add_argument("--format", choices=["html", "json"], default="html", help="form")
    return parser


if __name__ == "__main__":
    sys.exit(main())
