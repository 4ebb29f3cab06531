"""Charts of the report as inline SVG that follows the page's light or dark colours.

Matplotlib draws with two stand-in colours, which become CSS variables of the page; text stays text.
"""

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

mpl.use("svg")

_INK, _GRID = "#010203", "#040506"
_COLOURS = ("#3b82f6", "#f97316", "#10b981", "#a855f7", "#ef4444", "#eab308", "#06b6d4", "#ec4899")
"""Readable on white and on near-black."""
_MAX_POINTS = 400
"""Longer curves are drawn as means of equal stretches."""
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _GRID,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Points:
    """Values with error bars, one for each label of the x axis; None where there is none."""

    name: str
    values: Sequence[float | None]
    errors: Sequence[float | None]


@dataclass(frozen=True)
class Curve:
    """One stage's stretch of a curve."""

    steps: Sequence[int]
    """Steps of the whole training, so that stages stand one after the other."""
    values: Sequence[float | None]


@dataclass(frozen=True)
class Stretch:
    """A stage on the x axis."""

    name: str
    start: int
    end: int


def accuracy_chart(labels: Sequence[str], series: Sequence[Points]) -> str:
    """Accuracy in percent after each stage, with standard errors."""

    def draw(axes: Any) -> None:
        for points, colour in zip(series, _cycle(len(series)), strict=True):
            at = [i for i, v in enumerate(points.values) if v is not None]
            axes.errorbar(
                at,
                [100 * (points.values[i] or 0) for i in at],
                yerr=[100 * (points.errors[i] or 0) for i in at],
                label=points.name,
                color=colour,
                marker="o",
                markersize=4,
                linewidth=1.8,
                capsize=3,
            )
        axes.set_xticks(range(len(labels)), labels)
        axes.set_xlim(-0.4, len(labels) - 0.6)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("accuracy, %")
        axes.grid(visible=False, axis="x")
        axes.legend(loc="best")

    return _svg("accuracy", (9.0, 3.4), draw)


def curve_chart(
    title: str, unit: str, curves: Sequence[Curve], stretches: Sequence[Stretch]
) -> str:
    """One metric over the steps of all stages, a border between two stages."""

    def draw(axes: Any) -> None:
        for curve, colour in zip(curves, _cycle(len(curves)), strict=True):
            steps, values = _thinned(curve)
            axes.plot(steps, values, color=colour, linewidth=1, alpha=0.35)
            axes.plot(steps, _smoothed(values), color=colour, linewidth=1.8)
        _borders(axes, stretches)
        axes.set_title(f"{title}, {unit}" if unit else title, loc="left", fontsize=10)

    return _svg(title, (4.6, 2.5), draw)


def stacked_chart(
    title: str,
    unit: str,
    steps: Sequence[int],
    layers: Mapping[str, Sequence[float]],
    stretches: Sequence[Stretch],
) -> str:
    """Parts of a whole over the steps, one on top of the other."""

    def draw(axes: Any) -> None:
        thinned = {name: _thinned(Curve(steps, values)) for name, values in layers.items()}
        at = next(iter(thinned.values()))[0]
        axes.stackplot(
            at,
            [_smoothed(values) for _, values in thinned.values()],
            labels=list(thinned),
            colors=_cycle(len(thinned)),
            alpha=0.85,
            linewidth=0,
        )
        _borders(axes, stretches)
        axes.set_title(f"{title}, {unit}", loc="left", fontsize=10)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)

    return _svg(title, (9.2, 2.5), draw)


def _borders(axes: Any, stretches: Sequence[Stretch]) -> None:
    for i, stretch in enumerate(stretches):
        if i:
            axes.axvline(stretch.start - 0.5, color=_INK, linewidth=0.7, linestyle=":")
        axes.annotate(
            stretch.name,
            ((stretch.start + stretch.end) / 2, 0),
            xycoords=("data", "axes fraction"),
            xytext=(0, -22),
            textcoords="offset points",
            ha="center",
            fontsize=7.5,
        )
    if stretches:
        axes.set_xlim(stretches[0].start - 0.5, max(s.end for s in stretches) + 0.5)


def _thinned(curve: Curve) -> tuple[list[float], list[float]]:
    """At most 400 points: means of equal stretches. Missing values become NaN."""
    values = [math.nan if v is None else v for v in curve.values]
    size = math.ceil(len(values) / _MAX_POINTS) or 1
    parts = range(0, len(values), size)
    steps = [_mean(curve.steps[i : i + size]) for i in parts]
    return steps, [_mean([v for v in values[i : i + size] if not math.isnan(v)]) for i in parts]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _smoothed(values: Sequence[float]) -> list[float]:
    """Means of up to five points around each."""
    reach = 2 if len(values) >= 15 else 0
    windows = (values[max(0, i - reach) : i + reach + 1] for i in range(len(values)))
    return [_mean([v for v in window if not math.isnan(v)]) for window in windows]


def _cycle(count: int) -> list[str]:
    return [_COLOURS[i % len(_COLOURS)] for i in range(count)]


def _svg(name: str, size: tuple[float, float], draw: Callable[[Any], None]) -> str:
    style: Any = {**_STYLE, "svg.hashsalt": name}
    with mpl.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Ids are the document's, and several charts share one page.
    slug = re.sub(r"\W+", "-", name)
    text = re.sub(r'\bid="', f'id="{slug}-', text)
    text = re.sub(r"url\(#", f"url(#{slug}-", text)
    text = re.sub(r'xlink:href="#', f'xlink:href="#{slug}-', text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = text.replace("<svg", f'<svg role="img" aria-label="{name}"', 1)
    return text.replace(_INK, "var(--ink)").replace(_GRID, "var(--grid)")
