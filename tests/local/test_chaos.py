"""The chaos benchmark itself: it kills what it says, and sees a difference where there is one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from acereason_operator.local.processes import RANK_COMMAND
from laptops import DATA, RANK, SFT, Laptop, told

from tests.python_path import python_path
from tests.waiting import PATIENCE

PROJECT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "verdict"),
    [("pause", 0, "all equal, bit for bit"), ("pause random", 1, "DIFFERENT")],
)
def test_kills_change_nothing_and_what_chance_changes_is_seen(
    laptop: Laptop, words: str, code: int, verdict: str
) -> None:
    """25 s: two runs of two stages, three kills."""
    laptop.has(told(DATA, words), SFT)
    out = laptop.root / "chaos.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.chaos", str(laptop.file), "--kills", "3",
         "--out", str(out)],
        env={**os.environ, RANK_COMMAND: json.dumps(RANK), "PYTHONPATH": python_path(PROJECT)},
        capture_output=True, text=True, timeout=2 * PATIENCE, check=False,
    )  # fmt: skip
    assert (done.returncode, verdict in done.stdout) == (code, True), done.stdout + done.stderr
    result = json.loads(out.read_text())
    assert len(result["kills"]) == 3
    assert all(kill["processes"] >= 1 for kill in result["kills"])
    assert bool(result["differences"]) == bool(code)
