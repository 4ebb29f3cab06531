"""What is told of sampler and trainer, well and damaged (mismatch.py)."""

from collections.abc import Mapping
from typing import Any

from acereason_trainer.rollout.vllm_sampler import AGREE

HEAD = (
    "| numbers | damage | tokens | entropy | mean KL | largest of a token | share | seen "
    "| mean difference of the probe | seen |"
)
LINES_BEFORE = f"{HEAD}\n|{'---|' * (HEAD.count('|') - 1)}"


def told(result: Mapping[str, Any]) -> list[str]:
    """Paragraphs and the table."""
    limits = " and ".join(f"{most:g} in {dtype}" for dtype, most in AGREE.items())
    return [
        f"Responses of {result['model']}, drawn at temperature {result['temperature']:g}, with one "
        "side damaged on purpose; ± is a standard error over tokens. The probe's limits are "
        f"{limits}; a temperature does not change what it sees.",
        "\n".join([LINES_BEFORE, *map(line, result["lines"])]),
    ]


def line(f: Mapping[str, Any]) -> str:
    """A line of the table."""
    probed = f"{f['probe']:.1e}" if "probe" in f else ""
    seen_by_probe = "probe" in f and not f["probe"] <= AGREE[f["numbers"]]
    cells = [
        *(f["numbers"], f["damage"], f"{f['tokens']:,}", f"{f['entropy']:.2f}"),
        f"{f['meanKl']:.1e} ± {f['meanKlError']:.0e}",
        f"{f['largestKl']:.2g}",
        f"{f['share']:.2%} ± {f['shareError']:.2%}",
        *("yes" if f["seen"] else "", probed, "yes" if seen_by_probe else ""),
    ]
    return f"| {' | '.join(cells)} |"
