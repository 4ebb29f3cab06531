"""The result of `make bench-rewards` as Markdown: tables, and sentences for the README."""

from collections.abc import Mapping, Sequence
from typing import Any

Result = Mapping[str, Any]


def tables(result: Result) -> list[str]:
    """A table for each section that was measured."""
    made = {"math": _math_table, "code": _code_table, "batch": _batch_table, "bombs": _bombs_table}
    return [table(result[name]) for name, table in made.items() if name in result]


def told(result: Result) -> list[str]:
    """The whole result in tables and sentences."""
    math, code, batch, bombs = tables(result)
    agreed, limits = result["math"]["agreement"], result["bombs"]
    worst = max(b["seconds"] for b in limits["stopped"].values())
    return [
        "Answers of the same kind, in the same run, on one core each: median of "
        f"{result['rounds']} rounds, ± half the distance from the least to the largest. p99 is "
        "over single verdicts, asked for one after another.",
        math,
        f"Of these {agreed['pairs']} pairs the two checkers judge {agreed['disagreements']} "
        f"differently; {sum(agreed['byReason'].values())} of these stand with the reason in "
        "[a list](benchmarks/peers/math_verify_disagreements.json), and any other fails the "
        "command.",
        code,
        f"A trivial program with one test takes {result['code']['firstMs']:.1f} ms, each further "
        f"test, in a process of its own, {result['code']['furtherMs']:.1f} ms. prime_code runs all "
        "tests inside one process, beside the expected outputs; the subprocesses have no walls.",
        f"A step's rollouts, {result['batch']['prompts']:,} prompts with "
        f"{result['batch']['group']} responses each, on {result['batch']['cores']} cores:",
        batch,
        f"A batch of {limits['batch']:,} answers, of which {limits['bombs']} run into the "
        f"deadline, set to {limits['deadlineSeconds']:g} s for this (the latest verdict came after "
        f"{worst:.2f} s), with {_counted(limits['workers'], 'symbolic worker')}:",
        bombs,
        _goals(result["goals"]),
    ]


def _goals(goals: Sequence[Mapping[str, Any]]) -> str:
    missed = [
        f"{g['goal']}: {g['measured']:g}, asked for {g['asked']}" for g in goals if not g["met"]
    ]
    if missed:
        return f"Missed of {len(goals)} goals: {'; '.join(missed)}."
    return f"All {len(goals)} goals that the command checks are met."


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
    rows = [["", "rollouts", "ours", "rollouts/s", "peers on these cores, from a sample"]]
    for domain in ("math", "code"):
        b = batch[domain]
        peers = [f"{name} {p['estimatedSeconds']:,.0f} s" for name, p in b["peers"].items()]
        rows.append(
            [
                domain,
                f"{b['rollouts']:,}",
                f"{b['seconds']:,.1f} s",
                _short(b["perSecond"]),
                ", ".join(peers),
            ]
        )
    return _markdown(rows)


def _bombs_table(bombs: Result) -> str:
    p99, rates = bombs["exact"]["p99Ms"], bombs["exact"]["pairsPerSecond"]
    rows = [["", "without bombs", "with bombs"]]
    rows.append(["exact lane, p99", f"{p99['calm']:.2f} ms", f"{p99['bombs']:.2f} ms"])
    rows.append(["exact lane, pairs/s", f"{rates['calm']:,}", f"{rates['bombs']:,}"])
    rows.append(["symbolic lane, verdicts/s", "", f"{bombs['symbolic']['perSecond']:.1f}"])
    return _markdown(rows)


def _rate(figures: Mapping[str, float]) -> str:
    """Median with its spread: half the distance from least to largest, in percent."""
    half = 50 * (figures["largest"] - figures["least"]) / figures["median"]
    return f"{_short(figures['median'])} ±{half:.0f} %"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 20 else f"{number:.1f}"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
