"""Figures in the README and in docs/performance.md come from committed results: `make generate`
writes them, a test compares.

A block is everything between `<!-- figures: NAME -->` and `<!-- end figures -->`, made from
benchmarks/results/NAME.json; a result that is not there yet leaves its block empty. What kubectl
prints stands between `<!-- kubectl: NAME -->` and `<!-- end kubectl -->`, as a test on a real API
server has found it (docs/generated/kubectl/NAME.txt).
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import fill, indent
from typing import Any

from benchmarks import (
    effects_page,
    mismatch_table,
    operator_tables,
    quickstart,
    reliability_table,
    rewards_tables,
    smollm2,
    trainer_figures,
    vllm_quickstart,
)
from benchmarks.kept_result import measured_at

PAGES = (
    Path("README.md"),
    Path("docs/performance.md"),
    Path("docs/reliability.md"),
    Path("docs/effects.md"),
    Path("docs/health.md"),
)
RESULTS = Path("benchmarks/results")
KUBECTL = Path("docs/generated/kubectl")
WIDTH = 100
PRINTED = re.compile(r"(<!-- kubectl: ([\w-]+) -->\n).*?(<!-- end kubectl -->)", re.DOTALL)
BLOCK = re.compile(r"(<!-- figures: ([\w-]+) -->\n).*?(<!-- end figures -->)", re.DOTALL)


def main() -> None:
    """Write the figures of every page."""
    for page in PAGES:
        page.write_text(filled(page))


def filled(page: Path) -> str:
    """A page's text with every block made anew."""
    up = "../" * (len(page.parts) - 1)
    text = PRINTED.sub(lambda b: b[1] + printed(b[2]) + b[3], page.read_text())
    return BLOCK.sub(lambda b: b[1] + figures(b[2], up) + b[3], text)


def printed(name: str) -> str:
    """What kubectl prints, as a block of code."""
    text = (KUBECTL / f"{name}.txt").read_text(encoding="utf-8")
    return indent("\n".join(line.rstrip() for line in text.splitlines()), "    ") + "\n"


def figures(name: str, up: str) -> str:
    """One block. up: from the page's folder to the project's."""
    path = RESULTS / f"{RESULT_OF.get(name, name)}.json"
    if not path.exists():
        return ""
    result = json.loads(path.read_text())
    blocks = [*FORMS[name](result), _where(result, path, up)]
    lines = [b if b.startswith("|") else fill(b, WIDTH, break_on_hyphens=False) for b in blocks]
    return "\n\n".join(lines) + "\n"


def _quickstart(result: Mapping[str, Any]) -> list[str]:
    first = result["seeds"][0]["rl"]["accuracy"]["SFT"]["math"]
    return [
        f"Held-out accuracy in percent, avg@{first['samples']} over {first['problems']} problems "
        "of each kind, with its standard error over problems. The control arm spends RL's compute "
        f"on more SFT. Seed 0 took {result['seeds'][0]['rl']['seconds']:.0f} s.",
        quickstart.table(dict(result)),
    ]


def _smollm2(result: Mapping[str, Any]) -> list[str]:
    first = result["accuracy"]["SFT"]["math"]
    return [
        "SmolLM2-135M-Instruct: held-out accuracy in percent with its standard error over "
        f"problems, avg@{first['samples']} over {first['problems']} math problems.",
        *smollm2.table(dict(result)).split("\n\n"),
    ]


def _chaos(result: Mapping[str, Any]) -> list[str]:
    kills, attempts = len(result["kills"]), sum(result["attempts"].values())
    equal = "were equal, bit for bit, to those of" if not result["differences"] else "differed from"
    hit = sum(number > 1 for number in result["attempts"].values())
    return [
        f"A shortened quickstart, killed {kills} times over {attempts} attempts, in {hit} of its "
        f"{len(result['attempts'])} stages: all artifacts, curves and figures {equal} an "
        f"undisturbed run of {result['undisturbedSeconds']:.0f} s."
    ]


def _where(result: Mapping[str, Any], path: Path, up: str) -> str:
    dates, places = measured_at(result, PACKAGE.get(path.stem, "torch"))
    return f"Measured {dates} by `{COMMANDS[path.stem]}` {places}: [results]({up}{path})."


FORMS: Mapping[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "quickstart": _quickstart,
    "smollm2": _smollm2,
    "chaos": _chaos,
    "rewards": rewards_tables.told,
    "operator": operator_tables.told,
    "operator-in-full": operator_tables.told_in_full,
    "operator-hour": operator_tables.told_of_churn,
    "reliability": reliability_table.told,
    "reliability-whole": reliability_table.told,
    "trainer": trainer_figures.told_in_short,
    "trainer-in-full": trainer_figures.told,
    "effects": effects_page.told,
    "mismatch": mismatch_table.told,
    "vllm-quickstart": vllm_quickstart.told,
}
RESULT_OF = {"operator-in-full": "operator", "trainer-in-full": "trainer"}
"""Of blocks that are not named as their results are."""
COMMANDS = {
    "quickstart": "make bench-quickstart",
    "smollm2": "make bench-smollm2",
    "chaos": "make chaos",
    "rewards": "make bench-rewards",
    "operator": "python -m benchmarks.operator",
    "operator-hour": "python -m benchmarks.operator --only churn --rate 1 --churn 3600",
    "reliability": "make e2e",
    "reliability-whole": "make e2e-full",
    "trainer": "make bench-trainer",
    "effects": "make effects",
    "mismatch": "python -m benchmarks.mismatch --model build/smollm2/model --rows "
    "build/smollm2/data/rl-math.jsonl",
    "vllm-quickstart": "make bench-vllm",
}
PACKAGE = {
    "operator": "kopf",
    "operator-hour": "kopf",
    "reliability": "kopf",
    "reliability-whole": "kopf",
}
"""What the figures depend on most, where that is not torch."""


if __name__ == "__main__":
    main()
