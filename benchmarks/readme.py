"""Figures in the README come from committed results: `make generate` writes them, a test compares.

A block is everything between `<!-- figures: NAME -->` and `<!-- end figures -->`, made from
benchmarks/results/NAME.json; a result that is not there yet leaves its block empty.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

from benchmarks import quickstart, rewards_tables, smollm2

README = Path("README.md")
RESULTS = Path("benchmarks/results")
WIDTH = 100
BLOCK = re.compile(r"(<!-- figures: ([\w-]+) -->\n).*?(<!-- end figures -->)", re.DOTALL)


def main() -> None:
    """Write the README's figures."""
    README.write_text(filled(README.read_text()))


def filled(text: str) -> str:
    """The README's text with every block made anew."""
    return BLOCK.sub(lambda block: block[1] + figures(block[2]) + block[3], text)


def figures(name: str) -> str:
    """One block."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return ""
    result = json.loads(path.read_text())
    blocks = [*FORMS[name](result), _where(result["machine"], name)]
    lines = [b if b.startswith("|") else fill(b, WIDTH, break_on_hyphens=False) for b in blocks]
    return "\n\n".join(lines) + "\n"


def _quickstart(result: Mapping[str, Any]) -> list[str]:
    first = result["seeds"][0]["rl"]["accuracy"]["SFT"]["math"]
    return [
        f"Held-out accuracy in percent, avg@{first['samples']} over {first['problems']} problems "
        "of each kind, with its standard error over problems. The control arm spends RL's compute "
        f"on more SFT. Seed 0 alone on the machine took {result['seeds'][0]['rl']['seconds']:.0f} "
        "s.",
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


def _where(machine: Mapping[str, Any], name: str) -> str:
    return (
        f"Measured {machine['date']} on {machine['cores']} cores ({machine['processor']}), torch "
        f"{machine['versions']['torch']}, by `make {COMMANDS[name]}` at {machine['commit']}: "
        f"[results](benchmarks/results/{name}.json)."
    )


FORMS: Mapping[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "quickstart": _quickstart,
    "smollm2": _smollm2,
    "chaos": _chaos,
    "rewards": rewards_tables.told,
}
COMMANDS = {
    "quickstart": "bench-quickstart",
    "smollm2": "bench-smollm2",
    "chaos": "chaos",
    "rewards": "bench-rewards",
}


if __name__ == "__main__":
    main()
