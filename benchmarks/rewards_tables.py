"""The result of `make bench-rewards` as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

Result = Mapping[str, Any]


def tables(result: Result) -> list[str]:
    """The result as Markdown tables."""
    made = {"math": _math_table, "code": _code_table, "batch": _batch_table}
    return [table(result[name]) for name, table in made.items() if name in result]


def _math_table(math: Result) -> str:
    rows = [["pairs", "", "ours, pairs/s", "math-verify", "times", "p99 ours", "p99 math-verify"]]
    for name, s in math["sets"].items():
        rates = s["pairsPerSecond"]
        rows.append(
            [
                name,
                str(s["pairs"]),
                _rate(rates["ours"]),
                _rate(rates["math-verify"]),
                f"{s['times']:.1f}",
                f"{s['ours']['p99Ms']:.1f} ms",
                f"{s['math-verify']['p99Ms']:.1f} ms",
            ]
        )
    return _markdown(rows)


def _code_table(code: Result) -> str:
    names = list(next(iter(code["sets"].values()))["programsPerSecond"])
    rows = [["programs", *(f"{n}, programs/s" for n in names)]]
    for name, s in code["sets"].items():
        rows.append([name, *(_rate(s["programsPerSecond"][n]) for n in names)])
    return _markdown(rows)


def _batch_table(batch: Result) -> str:
    rows = [["batch", "rollouts", "ours", "rollouts/s", "peer on the same cores, from a sample"]]
    for domain in ("math", "code"):
        b = batch[domain]
        peers = [f"{name} {p['estimatedSeconds']:,.0f} s" for name, p in b["peers"].items()]
        rows.append(
            [
                domain,
                f"{b['rollouts']:,}",
                f"{b['seconds']:,.0f} s",
                f"{b['perSecond']:,.0f}",
                ", ".join(peers),
            ]
        )
    return _markdown(rows)


def _rate(figures: Mapping[str, float]) -> str:
    """Median with its spread: half the distance from least to largest, in percent."""
    half = 50 * (figures["largest"] - figures["least"]) / figures["median"]
    return f"{figures['median']:,.0f} ±{half:.0f} %"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
