"""Figures of `make effects` as Markdown and plots, for docs/effects.md."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

Result = Mapping[str, Any]
COLOURS = ("#3b82f6", "#f97316", "#10b981", "#a855f7")
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}
CUT = "truncated_share"
LABELS = {
    "entropy": "entropy, nats",
    "reward": "mean reward",
    "no_signal_share": "groups without signal",
    CUT: "cut answers",
    "accuracy": "held-out accuracy, points",
    "response_tokens": "tokens of a response",
}


def plot(effect: Result) -> str:
    """The effect's metric over the steps, by arm: mean over seeds, and one standard error around
    it. On white, since a page of docs may be dark."""
    style: Any = {**STYLE, "svg.hashsalt": effect["name"]}
    with mpl.rc_context(style):
        figure = Figure(figsize=(6.4, 2.8), layout="constrained", facecolor="white")
        axes = figure.add_subplot()
        for (arm, found), colour in zip(effect["arms"].items(), COLOURS, strict=False):
            curves = list(zip(*found["curves"], strict=True))
            steps = range(1, len(curves) + 1)
            means = [fmean(values) for values in curves]
            errors = [stdev(v) / len(v) ** 0.5 if len(v) > 1 else 0.0 for v in curves]
            low = [m - e for m, e in zip(means, errors, strict=True)]
            high = [m + e for m, e in zip(means, errors, strict=True)]
            axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
            axes.plot(steps, means, color=colour, linewidth=1.8, label=arm)
        axes.set_xlabel("step")
        axes.set_ylabel(LABELS[effect["curve"]])
        axes.legend(loc="best")
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def write_plots(result: Result, folder: Path) -> None:
    """One file for each effect."""
    folder.mkdir(parents=True, exist_ok=True)
    for effect in result["effects"].values():
        (folder / f"{effect['name']}.svg").write_text(plot(effect))


def told(result: Result) -> list[str]:
    """The block of docs/effects.md."""
    effects = result["effects"].values()
    number = sum(len(effect["comparisons"]) for effect in effects)
    return [
        *(part for effect in effects for part in _told(effect)),
        f"{number} comparisons were made, and nothing is corrected for their number: where no "
        f"effect is, {0.05 * number:.2g} of them would leave 0 out by chance.",
    ]


def verdict(comparison: Result) -> str:
    """Whether a direction is there, and whether it is the papers'."""
    if not (comparison["low"] > 0 or comparison["high"] < 0):
        return "not decided: the interval holds 0"
    seen = "higher" if comparison["mean"] > 0 else "lower"
    if comparison["expected"] is None:
        return f"{seen}; the papers compare nothing"
    return f"{seen}, as in the papers" if seen == comparison["expected"] else f"{seen}: not so"


def _told(effect: Result) -> list[str]:
    seeds = len(next(iter(effect["arms"].values()))["accuracy"])
    return [
        f"## {effect['title']}",
        effect["claim"],
        *([effect["note"]] if effect["note"] else []),
        *([_cut_at_first(effect)] if effect["curve"] == CUT else []),
        f"Other than in the quickstart's second math stage: {_settings(effect['settings'])}.",
        f"![{effect['title']}](effects/{effect['name']}.svg)",
        _markdown(
            [
                ["arm", "accuracy, %", "entropy", "reward at the end", "temperature"],
                *(_row(arm, found) for arm, found in effect["arms"].items()),
            ]
        ),
        f"Differences over {seeds} seeds, with their 95 % intervals:",
        _markdown(
            [
                ["", "difference", "95 % interval", "direction"],
                *(
                    [
                        f"{LABELS[c['metric']]}: {c['b']} less {c['a']}",
                        f"{c['mean']:+.3g}",
                        f"{c['low']:+.3g} to {c['high']:+.3g}",
                        verdict(c),
                    ]
                    for c in effect["comparisons"]
                ),
            ]
        ),
    ]


def _cut_at_first(effect: Result) -> str:
    """How near the model that all arms begin with is to the papers', where lengths are cut."""
    shares = ", ".join(
        f"{arm} {fmean(curve[0] for curve in found['curves']):.2f}"
        for arm, found in effect["arms"].items()
    )
    return f"Share of answers that were cut at the first step: {shares}; in the papers about 0.3."


def _settings(settings: Result) -> str:
    """What all arms have in common, then what each adds."""
    arms = "; ".join(f"{arm}: {_changes(own)}" for arm, own in settings["arms"].items())
    return f"{_changes(settings['common'])}; {arms}"


def _changes(changes: Result) -> str:
    return ", ".join(f"`{name}` {json.dumps(value)}" for name, value in changes.items())


def _row(arm: str, found: Result) -> list[str]:
    return [
        arm,
        f"{fmean(found['accuracy']):.1f}",
        _entropy(found),
        f"{fmean(found['reward']):.3f}",
        ", ".join(f"{t:g}" for t in dict.fromkeys(found["temperature"])),
    ]


def _entropy(found: Result) -> str:
    """At the end; and at the first step, which the same model draws at the arm's temperature."""
    return f"{fmean(found['entropyAtStart']):.3f} to {fmean(found['entropy']):.3f}"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
