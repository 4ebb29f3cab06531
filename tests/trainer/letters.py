"""A reward that a model with random weights earns now and then, so that tests have a gradient."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acereason_trainer.launch.watchdog import read_progress

HELD = "HELD_AT"
"""A step and an attempt's directory: that is how far the attempt comes until it is let go."""
LET_GO = "let-go"
"""A file in that directory."""


def has_an_early_letter(row: Mapping[str, Any], response: str) -> float:
    """1 where one of the first eight characters is a to m."""
    return float(any("a" <= c <= "m" for c in response[:8]))


def has_an_early_letter_once_let_go(row: Mapping[str, Any], response: str) -> float:
    """The same; of responses after the step that the environment names, when they may."""
    if held := os.environ.get(HELD):
        step, directory = held.split(maxsplit=1)
        while not Path(directory, LET_GO).exists():
            progress = read_progress(Path(directory, "progress.json"))
            if progress is None or progress.step < int(step):
                break
            time.sleep(0.01)
    return has_an_early_letter(row, response)


def has_what_the_row_wants(row: Mapping[str, Any], response: str) -> float:
    """The same, and the opposite for a row that wants none: learning the one unlearns the other."""
    return abs(has_an_early_letter(row, response) - float("wants_none" in row))
